"""Clients as they come: BentoML's own, raw bytes, base64 in JSON, forms as different programs write them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from running_server import LOCAL, Server, encoded, publish_copy, running

JPEG = encoded()
BASE64 = base64.b64encode(JPEG).decode()
KEY = "a-key-of-enough-letters"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("clients") / "home"
    publish_copy(home, artifact)
    with running(home, api_key=KEY, max_image_megabytes="1") as server:
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture(scope="module")
def expected(server: Server) -> Any:
    response = server.client.post("/predict", files={"image": ("a.jpg", JPEG)})
    assert response.status_code == 200
    return response.json()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One that can be read, one without an ending, and one that is no image."""
    paths = [tmp_path / name for name in ("a.jpg", "b", "c.jpg")]
    for path, data in zip(paths, (JPEG, JPEG, b"no image"), strict=True):
        path.write_bytes(data)
    return paths


def post(server: Server, body: bytes, content_type: str | None, path: str = "/predict") -> httpx.Response:
    return server.client.post(path, content=body, headers={"Content-Type": content_type} if content_type else {})


def json_body(value: object) -> bytes:
    return json.dumps(value).encode()


def error_of(response: httpx.Response, status: int = 400) -> tuple[str, str]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    return error["code"], error["message"]


def assert_answers(answers: list[Any], expected: Any) -> None:
    assert [answer.get("label", "none") for answer in answers] == [expected["label"], expected["label"], "none"]
    assert answers[0]["confidence"] == pytest.approx(expected["confidence"], abs=1e-6)
    assert answers[2]["error"]["code"] == "not_an_image"


def test_bentomls_client_gets_the_same_answers(server: Server, files: list[Path], expected: Any) -> None:
    with bentoml.SyncHTTPClient(str(server.client.base_url), token=KEY) as client:
        assert client.predict(image=files[0]) == expected
        assert client.predict(files[1]) == expected
        assert_answers(client.predict_many(images=files), expected)
        with pytest.raises(bentoml.exceptions.InvalidArgument, match="not_an_image"):
            client.predict(image=files[2])
        with pytest.raises(bentoml.exceptions.BentoMLException, match="media_type_unsupported"):
            client.predict(image="http://127.0.0.1:9/a.jpg")  # it sends the address, which nobody fetches


def test_bentomls_asynchronous_client_does_too(server: Server, files: list[Path], expected: Any) -> None:
    async def ask() -> tuple[Any, Any]:
        async with bentoml.AsyncHTTPClient(str(server.client.base_url), token=KEY) as client:
            return await client.predict(image=files[0]), await client.predict_many(images=files)

    one, many = asyncio.run(ask())
    assert one == expected
    assert_answers(many, expected)


@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream", "Application/Octet-Stream; a=b"])
def test_the_bytes_decide_where_the_type_says_nothing(server: Server, expected: Any, content_type: str | None) -> None:
    assert post(server, JPEG, content_type).json() == expected
    assert error_of(post(server, b"no image", content_type))[0] == "not_an_image"


@pytest.mark.parametrize(
    "body",
    [
        json_body({"image": BASE64}),
        json_body({"image": f"data:image/jpeg;base64,{BASE64}"}),
        json_body({"image": base64.encodebytes(JPEG).decode()}),  # in lines
        json_body({"image": BASE64}).replace(b"/", b"\\/").replace(b"+", b"\\u002B"),  # as PHP and .NET escape
    ],
)
def test_base64_in_json_is_an_image(server: Server, expected: Any, body: bytes) -> None:
    assert post(server, body, "application/json; charset=utf-8").json() == expected


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (json_body({"image": "http://127.0.0.1:9/a.jpg"}), "json_broken", "not fetched"),
        (json_body({"image": "file:///etc/passwd"}), "json_broken", "not fetched"),
        (json_body({"image": "no base64"}), "json_broken", "not base64"),
        (json_body({"image": [BASE64]}), "json_broken", "no text"),
        (json_body({"image": "\u00e9"}), "json_broken", "ASCII"),
        (json_body({"image": "😀"}), "json_broken", "ASCII"),
        (json_body({"image": BASE64, "top_k": 3}), "field_unexpected", "'top_k'"),
        (b'{"image": "", "image": ""}', "field_unexpected", "twice"),
        (json_body({}), "image_missing", "'image'"),
        (json_body([BASE64]), "json_broken", "no object"),
        (json_body({"image": ""}), "image_unreadable", "empty"),
        (b"[" * 100_000, "json_broken", "many values"),
        (b'{"image": ' * 100_000, "json_broken", "many values"),
        (b'{"image": [' + b"1," * 100_000 + b"1]}", "json_broken", "many values"),
        (b'{"image": ' + b"1" * 100_000 + b"}", "json_broken", "not JSON"),
        (b'{"image": "', "json_broken", "cut off"),
        (b"", "json_broken", "cut off"),
        ('{"image": "é"}'.encode(), "json_broken", "ASCII"),
        ('{"image": "aa"}'.encode("utf-16-le"), "json_broken", "not JSON"),
    ],
)
def test_other_json_is_one_error(server: Server, body: bytes, code: str, told: str) -> None:
    got, message = error_of(post(server, body, "application/json"))
    assert got == code
    assert told in message


def test_the_limit_on_an_image_holds_in_base64(server: Server) -> None:
    fits, larger = (
        json_body({"image": base64.b64encode(b"\xff\xd8\xff" + bytes(n)).decode()}) for n in (990_000, 1_100_000)
    )
    assert error_of(post(server, fits, "application/json"))[0] == "image_unreadable"
    assert error_of(post(server, larger, "application/json"), 413)[0] == "body_too_large"
    assert error_of(post(server, fits, "image/jpeg"), 413)[0] == "body_too_large"  # where nothing is encoded


def form(*parts: tuple[str, bytes]) -> bytes:
    """Parts as their headers and data."""
    return b"".join(b"--b\r\n%s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts) + b"--b--\r\n"


FORM = "multipart/form-data; boundary=b"
IMAGE = 'Content-Disposition: form-data; name="image"'


def test_a_part_of_an_images_type_is_a_file_without_a_name(server: Server, expected: Any) -> None:
    assert post(server, form((f"{IMAGE}\r\nContent-Type: image/jpeg", JPEG)), FORM).json() == expected
    for kind in ("text/plain", "application/octet-stream"):
        assert error_of(post(server, form((f"{IMAGE}\r\nContent-Type: {kind}", JPEG)), FORM))[0] == "field_not_a_file"


@pytest.mark.parametrize("path", ["/predict", "/predict_many", "/retrain"])
def test_an_unexpected_field_is_named(server: Server, path: str) -> None:
    field = {"/predict": "image", "/predict_many": "images", "/retrain": "photos"}[path]
    files: list[Any] = [(field, ("a.jpg", JPEG)), ("submit", (None, b"Go"))]
    code, message = error_of(server.client.post(path, files=files))
    assert code == "field_unexpected"
    assert "'submit'" in message


def test_a_slash_at_the_end_changes_nothing(server: Server, expected: Any) -> None:
    assert post(server, JPEG, "image/jpeg", "/predict/").json() == expected
    assert server.client.get("/readyz/").text == "colours:1\n"
    assert server.client.get("/predict/").status_code == 405


def test_a_slash_at_the_end_opens_nothing(server: Server) -> None:
    for path in ("/predict/", "/model/", "/retrain/", "/retrain/x/", "/schema.json/", "/openapi.json/", "/docs/"):
        response = httpx.get(f"{server.client.base_url}{path}", **LOCAL)
        assert response.status_code == 401, path


def test_the_page_of_the_calls_brings_all_it_needs_and_no_data(server: Server) -> None:
    page = httpx.get(f"{server.client.base_url}/docs", **LOCAL)  # without the key
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    script = httpx.get(f"{server.client.base_url}/page/docs.js", **LOCAL).text
    assert "http" not in page.text + script
    assert "innerHTML" not in script
    assert page.text.count("<script") == page.text.count('src="page/docs.js"') == 1
