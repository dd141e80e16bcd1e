"""Which web pages may make a browser change something here, where no key protects it.

A browser on this machine reaches loopback for any page it shows: what only changes something needs
no answer, so CORS does not help. And a name of the attacker's may lead to loopback, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.errors import CrossSite, LoopbackOnly

CHANGING = ("/retrain", "/feedback")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def check_page(method: str, path: str, headers: Headers, allowed: Collection[str]) -> None:
    """Raises `CrossSite` for what another site's page sends, `LoopbackOnly` where this machine is called otherwise."""
    if not path.startswith(CHANGING):
        return
    host = headers.get("host")
    if host is not None and not _is_local(host):
        raise LoopbackOnly("Without HANDFUL_API_KEY this is answered only under the names localhost and 127.0.0.1.")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if method in SAFE or origin in allowed or "*" in allowed:
        return
    if site in {"cross-site", "same-site"} or (site is None and origin is not None and not _same(origin, host)):
        raise CrossSite("A page of another site may not ask for this; HANDFUL_CORS_ORIGINS names those that may.")


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(origin: str, host: str | None) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False
