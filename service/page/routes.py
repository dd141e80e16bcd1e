"""The calls that answer with the web page and its parts."""

from __future__ import annotations

from pathlib import Path

from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import NotFound
from handful.service.page.files import FILES, MEDIA_TYPES, PAGES, PARTS
from starlette.requests import Request
from starlette.responses import Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # a new release is seen at once
}


async def show_page(request: Request) -> Response:
    return _answer(PAGES[request.url.path])


async def show_part(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in FILES:
        raise NotFound("The page has no such part.")
    return _answer(name)


def _answer(name: str) -> Response:
    """From memory, not by starlette's FileResponse: that would parse the Range header of any client."""
    return Response(FILES[name], headers=HEADERS, media_type=MEDIA_TYPES[Path(name).suffix])


PAGE_ENDPOINTS = (
    Endpoint(
        "GET", "/", show_page, "The page, to make and improve models.", answers={200: Answer("Text", str, "text/html")}
    ),
    Endpoint(
        "GET", "/docs", show_page, "A page that shows these calls.", answers={200: Answer("Text", str, "text/html")}
    ),
    Endpoint(
        "GET",
        PARTS,
        show_part,
        "The style and the scripts of both.",
        answers={200: Answer("Text", str, "text/javascript")},
        errors=(NotFound,),
    ),
)
