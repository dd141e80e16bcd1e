"""A task's photo -> its bytes, from the one Label Studio that the operator named, or out of the task itself.

A client never decides where this service goes: an address must lie under HANDFUL_LABEL_STUDIO_URL, where Label Studio
keeps uploads and local files; redirects are not followed; what the environment says of proxies is not read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from handful.service.http.filenames import quoted
from handful.service.http.label_studio_errors import AddressRefused, PhotoNotFetched
from handful.service.settings import Settings

PATHS = ("/data/upload/", "/data/local-files/")
FETCH_SECONDS = 20.0  # for one photo
ACCESS_SECONDS = 120.0  # that an access token is used; Label Studio's own are valid for five minutes
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)
_ALLOWED = "uploads and local files of Label Studio under HANDFUL_LABEL_STUDIO_URL, and data: URIs, are allowed."
OK = 200


class LabelStudioPhotos:
    """One per worker. It lives in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.base = (settings.label_studio_url or "").rstrip("/")
        self.key = settings.label_studio_key.get_secret_value() if settings.label_studio_key else ""
        self.most_bytes = int(settings.max_image_megabytes * 1e6)
        self._access, self._access_until = "", 0.0

    async def fetch(self, address: str) -> bytes:
        """Raises `AddressRefused` or `PhotoNotFetched`."""
        if address.startswith("data:"):
            return self._embedded(address)
        url = self.url_of(address)
        with _answering(address):
            async with asyncio.timeout(FETCH_SECONDS), self._client() as client:
                headers = {**await self._authorization(client), "Accept-Encoding": "identity"}
                return await self._read(client, url, headers, address)

    def url_of(self, address: str) -> str:
        """The URL that a task's address stands for. Raises `AddressRefused`."""
        if not self.base:
            raise AddressRefused(f"The photo lies at {quoted(address)}; HANDFUL_LABEL_STUDIO_URL is not set.")
        base = urlsplit(self.base)
        try:
            parts = urlsplit(address)
            own = (parts.scheme, parts.netloc) in {("", ""), (base.scheme, base.netloc)}
        except ValueError:
            own = False
        if not own or not _is_plain(address):
            raise AddressRefused(f"The photo lies at {quoted(address)}; {_ALLOWED}")
        path = parts.path.removeprefix(base.path)
        if not path.startswith(PATHS):
            raise AddressRefused(f"The photo lies at {quoted(address)}; {_ALLOWED}")
        return f"{self.base}{path}" + (f"?{parts.query}" if parts.query else "")

    def _embedded(self, address: str) -> bytes:
        head = _DATA.match(address)
        if head is None:
            raise AddressRefused("The photo is a data: URI of another form; data:image/...;base64,... is allowed.")
        if (len(address) - head.end()) * 3 // 4 > self.most_bytes + 2:
            raise AddressRefused(f"The photo's data: URI is too large; {self.most_bytes / 1e6:g} MB are allowed.")
        try:
            return base64.b64decode(address[head.end() :], validate=True)
        except (binascii.Error, ValueError) as e:
            raise AddressRefused("The photo's data: URI is no base64.") from e

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=FETCH_SECONDS)

    async def _authorization(self, client: httpx.AsyncClient) -> dict[str, str]:
        """Of a legacy token, or of an access token that a personal one is exchanged for."""
        if not self.key:
            return {}
        if self.key.count(".") != 2:
            return {"Authorization": f"Token {self.key}"}
        if time.monotonic() > self._access_until:
            response = await client.post(f"{self.base}/api/token/refresh", json={"refresh": self.key})
            if response.status_code != OK:
                raise PhotoNotFetched(
                    f"Label Studio answered {response.status_code} to the token in HANDFUL_LABEL_STUDIO_KEY."
                )
            self._access, self._access_until = str(response.json()["access"]), time.monotonic() + ACCESS_SECONDS
        return {"Authorization": f"Bearer {self._access}"}

    async def _read(self, client: httpx.AsyncClient, url: str, headers: dict[str, str], address: str) -> bytes:
        body = bytearray()
        async with client.stream("GET", url, headers=headers) as response:
            if response.status_code != OK:
                redirect = ", and redirects are not followed" if response.is_redirect else ""
                raise PhotoNotFetched(f"Label Studio answered {response.status_code} for {quoted(address)}{redirect}.")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise PhotoNotFetched(f"Label Studio sent {quoted(address)} compressed, which was not asked for.")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self.most_bytes:
                    raise PhotoNotFetched(
                        f"The photo at {quoted(address)} is too large; {self.most_bytes / 1e6:g} MB are allowed."
                    )
        return bytes(body)


@contextmanager
def _answering(address: str) -> Iterator[None]:
    """What the connection raises, as `PhotoNotFetched`."""
    try:
        yield
    except TimeoutError as e:
        raise PhotoNotFetched(f"Label Studio did not send {quoted(address)} in {FETCH_SECONDS:g} seconds.") from e
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, LookupError, TypeError) as e:
        raise PhotoNotFetched(
            f"{quoted(address)} could not be fetched from HANDFUL_LABEL_STUDIO_URL: {type(e).__name__}."
        ) from e


def studio_file_name(address: str) -> str:
    """What the photo is called: the last part of its address, or of the local file that it names."""
    if address.startswith("data:"):
        return ""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d", [""])[0]
    return PurePosixPath(local or unquote(parts.path)).name


def _is_plain(address: str) -> bool:
    """Whether all who read the address take it for the same: nothing that climbs, however it is written."""
    text = address
    for _ in range(3):
        path = text.partition("?")[0]
        if "\\" in path or ".." in path.split("/") or not text.isprintable():
            return False
        text = unquote(text)
    return True
