"""The calls about one version of a model: its report, what cross-validation found, small pictures of its photos."""

from __future__ import annotations

from collections.abc import Callable, Collection

from handful.service.artifact.errors import ArtifactError
from handful.service.http.endpoint import TEXT, Answer, Endpoint, Parameter, check_parameters
from handful.service.http.errors import ParameterWrong
from handful.service.http.filenames import quoted
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import NotKept
from handful.service.http.report_page import report_bytes, report_response
from handful.service.http.schemas import TicketBody
from handful.service.http.tickets import TICKET_SUMMARY, Tickets, ticket_response
from handful.service.models.bodies import FindingsBody, ThumbnailsBody
from handful.service.models.catalogue import REPORT, Catalogue, card_of
from handful.service.models.disk import Disk
from handful.service.models.learned import LearnedPhotos
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import Response

PATH = "/models/{name}/versions/{version}"
MOST_THUMBNAILS = 1000  # per call
KEPT_SECONDS = 3600  # by a browser; a version's pictures never change
PARAMETERS = (
    Parameter("label", TEXT),
    Parameter("offset", {"type": "integer", "minimum": 0, "default": 0}),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_THUMBNAILS, "default": 200}),
)


class VersionRoutes:
    """One per worker. `library` makes, of a model's name, what reads the ids of the photos in its library."""

    def __init__(self, settings: Settings, disk: Disk, library: Callable[[str], Callable[[], Collection[str]]]) -> None:
        self.settings, self.disk, self.library = settings, disk, library
        self.tickets = Tickets(settings.api_keys)
        self.endpoints = (
            Endpoint(
                "GET",
                f"{PATH}/report",
                self.report,
                "A version's report, as a page without scripts.",
                answers={200: Answer("The page", str, "text/html")},
                errors=(ModelUnknown, NotKept),
            ),
            Endpoint(
                "POST",
                f"{PATH}/report/ticket",
                self.report_ticket,
                TICKET_SUMMARY,
                answers={200: Answer("The ticket", TicketBody)},
                errors=(ModelUnknown, NotKept),
            ),
            Endpoint(
                "GET",
                f"{PATH}/findings",
                self.findings,
                "What cross-validation found: mistakes, labels that look wrong, the confusion table.",
                answers={200: Answer("The findings", FindingsBody)},
                errors=(ModelUnknown,),
            ),
            Endpoint(
                "GET",
                f"{PATH}/thumbnails",
                self.thumbnails,
                "The photos that a version was learned from, of one label or of all.",
                answers={200: Answer("In the order of the artifact", ThumbnailsBody)},
                errors=(ModelUnknown,),
                parameters=PARAMETERS,
            ),
            Endpoint(
                "GET",
                f"{PATH}/thumbnails/{{id}}",
                self.thumbnail,
                "A small picture of one of them.",
                answers={200: Answer("A JPEG", bytes, "image/jpeg")},
                errors=(ModelUnknown, NotKept),
            ),
        )

    async def report(self, request: Request) -> Response:
        return report_response(await self.disk.call(self._report, *self._version(request)))

    async def report_ticket(self, request: Request) -> Response:
        await self.disk.call(self._report, *self._version(request))
        return ticket_response(self.tickets, request)

    async def findings(self, request: Request) -> Response:
        name, version = self._version(request)
        library = self.library(name)
        body = await self.disk.call(lambda: self._learned(name, version, library).findings())
        return Response(body.model_dump_json(), media_type="application/json")

    async def thumbnails(self, request: Request) -> Response:
        name, version = self._version(request)
        library = self.library(name)
        check_parameters(request.query_params, PARAMETERS)
        label = request.query_params.get("label")
        offset, limit = _number(request, "offset", 0, 0, 1 << 40), _number(request, "limit", 200, 1, MOST_THUMBNAILS)
        body = await self.disk.call(lambda: self._learned(name, version, library).thumbnails(label, offset, limit))
        return Response(body.model_dump_json(), media_type="application/json")

    async def thumbnail(self, request: Request) -> Response:
        name, version = self._version(request)
        library = self.library(name)
        row = request.path_params["id"]
        jpeg = await self.disk.call(lambda: self._learned(name, version, library).jpeg(row))
        if jpeg is None:
            raise NotKept(f"{name}:{version} keeps no picture {quoted(row)}.")
        headers = {"Cache-Control": f"private, max-age={KEPT_SECONDS}"}
        return Response(jpeg, headers=headers, media_type="image/jpeg")

    def _version(self, request: Request) -> tuple[str, str]:
        return request.path_params["name"], request.path_params["version"]

    def _learned(self, name: str, version: str, library: Callable[[], Collection[str]]) -> LearnedPhotos:
        folder = Catalogue(self.settings.model).folder(name, version)
        try:
            card = card_of(folder)
        except ArtifactError as e:
            raise ModelUnknown(f"{name}:{version} is broken; GET /models/{name} says why.") from e
        return LearnedPhotos(name, version, folder, card, library)

    def _report(self, name: str, version: str) -> bytes:
        html = report_bytes(Catalogue(self.settings.model).folder(name, version) / REPORT)
        if html is None:
            raise NotKept(f"{name}:{version} has no report.")
        return html


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or not least <= int(text) <= most:
        raise ParameterWrong(f"{name} is {quoted(text)}; a whole number from {least} to {most} is allowed.")
    return int(text)
