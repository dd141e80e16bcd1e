"""A body becomes images, or one clear error; nothing in between."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from handful.service.http.body import multipart_images, single_image, take_archive
from handful.service.http.errors import (
    FieldMissing,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    MediaTypeUnsupported,
    MultipartBroken,
    RequestError,
    TooManyImages,
)
from handful.service.http.multipart import CHUNK_BYTES, parse_multipart

TYPE = "multipart/form-data; boundary=b"


def part(data: bytes, name: str = "image", filename: str | None = "a.jpg") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"


def one(body: bytes, content_type: str = TYPE) -> bytes:
    return single_image(content_type, bytearray(body))


@pytest.mark.parametrize("data", [b"", b"x", b"\r\n", b"--", b"\r\n--", b"\r\n\r\n", b"-" * 100, bytes(range(256))])
def test_a_files_bytes_come_back_whatever_they_are(data: bytes) -> None:
    assert one(part(data) + b"--b--\r\n") == data
    assert one(b"a preamble\r\n" + part(data) + b"--b--and an epilogue") == data


def test_several_files_come_back_in_order() -> None:
    body = bytearray(b"".join(part(bytes([n]) * n, "images") for n in range(5)) + b"--b--")
    assert multipart_images(TYPE, body, field="images", max_images=5) == [bytes([n]) * n for n in range(5)]


@pytest.mark.parametrize("boundary", ['"a b"', "----WebKitFormBoundary7MA4YWxkTrZu0gW", "'()+_,-./:=?"])
def test_every_boundary_that_is_allowed_is_understood(boundary: str) -> None:
    quoted = boundary if boundary.startswith('"') else f'"{boundary}"'
    body = part(b"x").replace(b"--b", b"--" + boundary.strip('"').encode(), 1)
    end = f"--{boundary.strip(chr(34))}--".encode()
    assert one(body + end, f"multipart/form-data; boundary={quoted}") == b"x"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MultipartBroken),
        (b"--b", MultipartBroken),
        (b"--b--", ImageMissing),
        (part(b"x"), MultipartBroken),
        (part(b"x")[:-9] + b"--b--", MultipartBroken),
        (b"--b\r\n\r\nno headers\r\n--b--", MultipartBroken),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--b--", MultipartBroken),
        (b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b--", MultipartBroken),
        (b"--bother\r\n\r\nx\r\n--b--", MultipartBroken),
        (part(b"x").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"--b--", MultipartBroken),
        (part(b"x", filename=None) + b"--b--", FieldNotAFile),
        (part(b"", filename="") + b"--b--", ImageMissing),
        (part(b"x", name="photo") + b"--b--", FieldUnexpected),
        (part(b"x") + part(b"y") + b"--b--", TooManyImages),
        (b"".join(part(b"x", name=str(n)) for n in range(20)) + b"--b--", FieldUnexpected),
        (part(b"x") + part(b"3", name="top_k", filename=None) + b"--b--", FieldUnexpected),
    ],
)
def test_a_body_that_is_not_as_promised_is_refused(body: bytes, error: type[RequestError]) -> None:
    with pytest.raises(error):
        one(body)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/zip", "multipart/mixed; boundary=b", "x" * 5000, "image", "\xff"]
)
def test_a_type_that_is_no_upload_is_refused(content_type: str) -> None:
    with pytest.raises(MediaTypeUnsupported, match="is allowed") as e:
        one(part(b"x") + b"--b--", content_type)
    assert len(str(e.value)) < 200


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", "; boundary=" + "b" * 71, "; boundary=\xe9", "; boundary*=utf-8''b"]
)
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartBroken):
        one(part(b"x") + b"--b--", "multipart/form-data" + boundary)


def test_random_damage_gives_parts_or_our_error_and_nothing_else() -> None:
    chance = random.Random(0)
    whole = part(b"x" * 50) + part(b"y", "other", None) + b"--b--\r\n"
    for _ in range(3000):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(body))
            body[at : at + chance.randint(0, 3)] = chance.choice([b"", b"\r\n", b"--", b"\xff", b'"', b";", b"\0"])
        try:
            parse_multipart(TYPE, body, fields=["image", "other"], max_parts=8)
        except RequestError:
            continue


@pytest.mark.parametrize(
    "option", ['; a="' + ";" * 120_000, "; a" * 60_000, " " * 120_000, '; boundary="' + "\\" * 120_000]
)
def test_a_long_content_type_is_refused_without_being_parsed(option: str) -> None:
    started = time.process_time()
    with pytest.raises(MultipartBroken, match="at most 1000 are allowed"):
        one(part(b"x") + b"--b--", TYPE + option)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    "header", ['Content-Disposition: form-data; name="image"; a="' + ";" * 120_000, "X: y\r\n" * 9]
)
def test_long_and_many_headers_of_a_part_are_refused(header: str) -> None:
    started = time.process_time()
    with pytest.raises(MultipartBroken, match="Maximum segment header"):
        one(f"--b\r\n{header}\r\n\r\nx\r\n--b--".encode())
    assert time.process_time() - started < 0.1


def test_a_body_is_whole_wherever_its_end_falls_between_two_chunks() -> None:
    end = b"--b--\r\n"
    overhead = len(part(b"") + end)
    for length in range(CHUNK_BYTES - overhead - 3, CHUNK_BYTES - overhead + len(end) + 3):
        assert one(part(b"x" * length) + end) == b"x" * length
        with pytest.raises(MultipartBroken):
            one((part(b"x" * length) + end)[:-3])


def test_a_file_with_only_an_extended_filename_is_a_file() -> None:
    body = b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename*=utf-8''a.jpg\r\n\r\nx\r\n--b--"
    assert one(body) == b"x"


@pytest.mark.parametrize("filename", ["Grün.jpg".encode(), "Grün.jpg".encode("latin-1"), b"a;b.jpg"])
def test_a_filename_in_any_encoding_is_a_filename(filename: bytes) -> None:
    assert one(part(b"x").replace(b"a.jpg", filename) + b"--b--") == b"x"


def saved(body: bytes, folder: Path, content_type: str = TYPE) -> bytes:
    (folder / "body").write_bytes(body)
    take_archive(content_type, folder / "body", folder / "photos.zip")
    assert not (folder / "body").exists()
    return (folder / "photos.zip").read_bytes()


@pytest.mark.parametrize("data", [b"", b"x", b"\r\n--", bytes(range(256)) * 1024])
def test_a_zip_comes_out_of_a_saved_body_whatever_its_bytes_are(data: bytes, tmp_path: Path) -> None:
    assert saved(part(data, "photos", "a.zip") + b"--b--\r\n", tmp_path) == data
    (tmp_path / "photos.zip").unlink()
    assert saved(data, tmp_path, "application/zip") == data


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MultipartBroken),
        (part(b"x" * 200_000, "photos", "a.zip"), MultipartBroken),
        (b"--b--", FieldMissing),
        (part(b"x") + b"--b--", FieldUnexpected),
        (part(b"http://a/b.zip", "photos", None) + b"--b--", FieldNotAFile),
        (part(b"x", "photos", "a.zip") * 2 + b"--b--", TooManyImages),
    ],
)
def test_a_saved_body_that_is_not_as_promised_is_refused(
    body: bytes, error: type[RequestError], tmp_path: Path
) -> None:
    with pytest.raises(error):
        saved(body, tmp_path)
