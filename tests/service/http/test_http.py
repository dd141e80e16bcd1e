"""Every bad input gets the right status and code from a real server; none a 500, none a hang."""

from __future__ import annotations

import io
import json
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from handful.service.classifier import Classifier
from handful.service.classify.given import GivenPhotos
from handful.service.classify.local import RowsFromHere, classify_sources
from PIL import Image
from running_server import Server, encoded, running, until

JPEG = encoded()
IMAGE_CODES = {"not_an_image", "image_unreadable", "image_truncated", "image_too_many_bytes"}
IMAGE_CODES |= {"image_too_many_pixels", "image_too_complex"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Server]:
    own = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(home / "models", own / "models")
    before = state_of(own / "models")
    with running(own) as server:
        yield server
        assert "Traceback" not in server.output()
    assert state_of(own / "models") == before  # the models are only read


def state_of(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def raw(server: Server, body: bytes, content_type: str | None = "image/jpeg") -> httpx.Response:
    return server.client.post("/predict", content=body, headers={"Content-Type": content_type} if content_type else {})


def file(server: Server, body: bytes, field: str = "image", name: str = "a.jpg") -> httpx.Response:
    return server.client.post("/predict", files={field: (name, body)})


def assert_error(response: httpx.Response, status: int, *codes: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] in codes
    assert len(error["message"]) < 300


def test_an_image_is_answered_alike_as_a_field_and_as_the_body(server: Server) -> None:
    field, body = file(server, JPEG), raw(server, JPEG)
    assert field.status_code == body.status_code == 200
    assert field.json() == body.json()
    answer = field.json()
    assert set(answer) == {"model", "label", "confidence", "unknown", "predictions"}
    assert answer["model"] == "colours:1"
    probabilities = [each["probability"] for each in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert answer["confidence"] == probabilities[0]
    assert answer["label"] == (None if answer["unknown"] else answer["predictions"][0]["label"])


def test_answers_are_those_of_classify(server: Server, photos: Path, artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    classify_sources(RowsFromHere(Classifier.load(artifact), GivenPhotos([photos])), out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    many = server.client.post(
        "/predict_many", files=[("images", (photos / row["path"]).open("rb")) for row in rows]
    ).json()
    for row, answer in zip(rows, many, strict=True):
        assert (row["label"] or None) == answer["label"]
        for each in answer["predictions"]:
            assert each["probability"] == pytest.approx(row[f"probability_{each['label']}"], abs=1e-3)


def assert_same_prediction(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Within the rounding of a batch of another size."""
    shares = [{p["label"]: p["probability"] for p in answer["predictions"]} for answer in (one, other)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)
    assert one["label"] == other["label"]


def test_many_answers_come_in_order_and_one_bad_image_fails_only_itself(server: Server) -> None:
    bodies = [JPEG, b"no image", encoded("PNG", seed=1), JPEG[:200]]
    answers = server.client.post("/predict_many", files=[("images", ("a", body)) for body in bodies]).json()
    assert_same_prediction(answers[0], raw(server, JPEG).json())
    assert answers[1]["error"]["code"] == "not_an_image"
    assert_same_prediction(answers[2], raw(server, bodies[2], "image/png").json())
    assert answers[3]["error"]["code"] in {"image_truncated", "image_unreadable"}


@pytest.mark.parametrize(
    "body", [b"no image", b"<svg/>", b"\0" * 1000, b"http://127.0.0.1/a.jpg", b"GIF", bytes(range(256))]
)
def test_what_is_no_image_is_400(server: Server, body: bytes) -> None:
    assert_error(raw(server, body), 400, "not_an_image")
    assert_error(file(server, body), 400, "not_an_image")


def test_an_empty_image_is_400(server: Server) -> None:
    assert_error(raw(server, b""), 400, "image_unreadable")
    assert_error(file(server, b""), 400, "image_unreadable")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_cut_at_every_tenth_is_400(server: Server, kind: str) -> None:
    whole = encoded(kind)
    for tenth in range(1, 10):
        response = raw(server, whole[: len(whole) * tenth // 10])
        assert_error(response, 400, "image_truncated", "image_unreadable")


def test_a_bomb_of_two_hundred_megapixels_is_413(server: Server) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 200_000
    assert_error(raw(server, bomb.getvalue()), 413, "image_too_many_pixels")


@pytest.mark.parametrize("chunked", [False, True])
def test_fifty_megabytes_are_413_whether_announced_or_not(server: Server, chunked: bool) -> None:
    content = (b"\xff" * 1_000_000 for _ in range(50)) if chunked else b"\xff" * 50_000_000
    response = server.client.post("/predict", content=content, headers={"Content-Type": "image/jpeg"})
    assert_error(response, 413, "body_too_large")


@pytest.mark.parametrize(
    "content_type", ["image/jpg", "image/jpeg; charset=binary", "IMAGE/JPEG", "image/png", "image/x"]
)
def test_any_image_type_is_fine_and_the_bytes_decide(server: Server, content_type: str) -> None:
    assert raw(server, JPEG, content_type).status_code == 200


def test_png_bytes_called_jpeg_are_fine(server: Server) -> None:
    assert file(server, encoded("PNG"), name="a.jpg").status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/zip", "application/x-www-form-urlencoded", "x" * 900]
)
def test_a_type_that_is_no_images_is_415(server: Server, content_type: str) -> None:
    assert_error(raw(server, JPEG, content_type), 415, "media_type_unsupported")


def test_a_compressed_body_is_415(server: Server) -> None:
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    assert_error(server.client.post("/predict", content=JPEG, headers=headers), 415, "media_type_unsupported")


def test_a_raw_body_for_many_is_415(server: Server) -> None:
    response = server.client.post("/predict_many", content=JPEG, headers={"Content-Type": "image/jpeg"})
    assert_error(response, 415, "media_type_unsupported")


def test_a_wrong_field_is_400(server: Server) -> None:
    assert_error(file(server, JPEG, field="photo"), 400, "field_unexpected")


def test_twenty_fields_are_400(server: Server) -> None:
    response = server.client.post("/predict", files=[(f"field{n}", ("a.jpg", JPEG)) for n in range(20)])
    assert_error(response, 400, "field_unexpected", "too_many_images")


def test_two_images_for_one_answer_are_400(server: Server) -> None:
    response = server.client.post("/predict", files=[("image", ("a.jpg", JPEG))] * 2)
    assert_error(response, 400, "too_many_images")


def test_too_many_images_are_400(server: Server) -> None:
    response = server.client.post("/predict_many", files=[("images", ("a.jpg", b"x"))] * 65)
    assert_error(response, 400, "too_many_images")


@pytest.mark.parametrize(
    "text", [b"hello", b"http://127.0.0.1:9/a.jpg", b"file:///etc/passwd", b"data:image/png;base64,AA=="]
)
def test_a_text_part_where_a_file_belongs_is_400(server: Server, text: bytes) -> None:
    response = server.client.post("/predict", files={"image": (None, text)})
    assert_error(response, 400, "field_not_a_file")


def test_a_url_in_a_file_is_not_fetched(server: Server) -> None:
    with pytest.raises(TimeoutError):
        _answer_and_wait_for_visitor(server)


def _answer_and_wait_for_visitor(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.settimeout(0.5)
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/a.jpg".encode()
        assert_error(file(server, url), 400, "not_an_image")
        assert_error(server.client.post("/predict", files={"image": (None, url)}), 400, "field_not_a_file")
        bait.accept()


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\n", b"--b--", b"garbage", b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx'],
)
def test_broken_multipart_is_400(server: Server, body: bytes) -> None:
    assert_error(raw(server, body, "multipart/form-data; boundary=b"), 400, "multipart_broken", "image_missing")
    assert_error(raw(server, body, "multipart/form-data"), 400, "multipart_broken")


@pytest.mark.parametrize(
    "path", ["/nothing", "/predict//", "/docs.json", "/docs/", "/openapi.json/a", "/static_content/a", "/%00%ff"]
)
def test_a_path_that_is_not_there_is_404(server: Server, path: str) -> None:
    assert_error(server.client.get(path), 404, "not_found")


@pytest.mark.parametrize("call", ["GET /predict", "PUT /predict", "POST /model", "DELETE /livez", "TRACE /"])
def test_a_method_that_is_not_there_is_405(server: Server, call: str) -> None:
    response = server.client.request(*call.split())
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"]


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def test_a_chunked_upload_cut_in_the_middle_ends_and_is_counted(server: Server) -> None:
    before = gone(server)
    with server.connect() as line:
        line.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\nabc")
    until(lambda: gone(server) > before)


def test_clients_that_vanish_leave_nothing_behind(server: Server) -> None:
    before = gone(server)
    for _ in range(20):
        with server.connect() as line:
            line.sendall(HEAD + f"Content-Length: {len(JPEG)}\r\n\r\n".encode() + JPEG[:100])
        with server.connect() as line:
            line.sendall(HEAD + f"Content-Length: {len(JPEG)}\r\n\r\n".encode() + JPEG)  # and never reads the answer
    until(lambda: gone(server) >= before + 20)
    assert raw(server, JPEG).status_code == 200


@pytest.mark.parametrize("length", [b"-1", b"x", b"1e3", b"99999999999999999999999"])
def test_an_absurd_content_length_ends_the_connection(server: Server, length: bytes) -> None:
    with server.connect() as line:
        line.sendall(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + JPEG)
        line.shutdown(1)
        answer = line.recv(100)
    assert not answer or answer.split()[1].startswith(b"4")


def gone(server: Server) -> float:
    return series(server).get('handful_errors_total{code="client_gone"}', 0)


def series(server: Server) -> dict[str, float]:
    lines = [line for line in server.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_two_thousand_mutated_images_get_an_answer_each(server: Server) -> None:
    chance = random.Random(0)
    seeds = [encoded(kind, side=32) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    for _ in range(40):
        bodies = [mutated(chance.choice(seeds), chance) for _ in range(50)]
        response = server.client.post("/predict_many", files=[("images", ("a", body)) for body in bodies])
        assert response.status_code == 200
        answers = response.json()
        assert len(answers) == 50
        assert all("predictions" in answer or answer["error"]["code"] in IMAGE_CODES for answer in answers)
    assert raw(server, JPEG).status_code == 200


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out or put in."""
    body = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(body) + 1)
        body[at : at + chance.choice([0, 1, 1, 1, 4, 64])] = chance.randbytes(chance.choice([0, 1, 1, 1, 4]))
    return bytes(body)


def test_metrics_count_images_errors_and_the_version_and_no_invented_path(server: Server) -> None:
    before = series(server)
    for path in ("/a", "/b", "/predict/c"):
        server.client.get(path)
    raw(server, JPEG)
    raw(server, b"no")
    after = series(server)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name)}
    assert grown["handful_images_total"] == 1
    assert grown['handful_errors_total{code="not_an_image"}'] == 1
    assert grown['handful_requests_total{path="other",status="404"}'] == 3
    assert grown["handful_batch_images_count"] == grown["handful_network_seconds_count"] == 1
    assert grown["handful_decode_seconds_count"] == 2
    assert after["handful_model_version"] == 1
    assert not [name for name in after if '/a"' in name]


def test_the_card_the_probes_the_page_and_the_description_answer(server: Server, artifact: Path) -> None:
    assert server.client.get("/model").json() == json.loads((artifact / "card.json").read_text())
    assert server.client.get("/livez").status_code == server.client.get("/healthz").status_code == 200
    assert server.client.get("/readyz").text == "colours:1\n"
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/page/page.css", "/page/page.js", "/page/docs.js"):
        assert path[1:] in page.text + server.client.get("/docs").text
        assert "http" not in server.client.get(path).text  # nothing comes from elsewhere
    described = server.client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/predict_many", "/model", "/livez", "/readyz", "/metrics"} <= set(described)
    assert {"400", "401", "405", "408", "413", "415", "503"} <= set(described["/predict"]["post"]["responses"])


def test_no_web_page_elsewhere_may_call_unless_it_is_set(server: Server) -> None:
    response = server.client.get("/model", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in response.headers


def test_a_service_without_a_folder_for_corrections_keeps_none(server: Server) -> None:
    for response in (server.client.get("/feedback"), server.client.post("/feedback", files={"image": ("a", JPEG)})):
        assert_error(response, 404, "feedback_off")
