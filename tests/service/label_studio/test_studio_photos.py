"""Which addresses of tasks are fetched, and how: never one that a client chose freely."""

from __future__ import annotations

import asyncio
import base64

import pytest
from handful.service.artifact.errors import UsageError
from handful.service.http.label_studio_errors import AddressRefused, LabelConfigWrong, PhotoNotFetched
from handful.service.label_studio.label_config import LabelConfig
from handful.service.label_studio.photos import LabelStudioPhotos, studio_file_name
from handful.service.settings import Settings
from label_studio_stand_in import ACCESS, PERSONAL, Studio, studio_stand_in  # noqa: F401  # a fixture
from pydantic import SecretStr
from running_server import encoded

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="choice" toName="image">'
    '<Choice value="Blue things" alias="blue"/><Choice value="red"/></Choices></View>'
)
UPLOAD = "/data/upload/1/90c21667-blue.png"


def photos(studio: Studio | None = None, path: str = "", key: str = "", megabytes: float = 1.0) -> LabelStudioPhotos:
    base = f"{studio.url if studio else 'http://studio.example:8080'}{path}"
    settings = Settings.model_construct(
        label_studio_url=base, label_studio_key=SecretStr(key) if key else None, max_image_megabytes=megabytes
    )
    return LabelStudioPhotos(settings)


def fetched(source: LabelStudioPhotos, address: str) -> bytes:
    return asyncio.run(source.fetch(address))


@pytest.mark.parametrize(
    "address",
    [
        *("http://169.254.169.254/latest/meta-data", "http://studio.example:8081/data/upload/1/a.png"),
        *("https://studio.example:8080/data/upload/1/a.png", "http://user@studio.example:8080/data/upload/1/a.png"),
        *("//evil.example/data/upload/1/a.png", "http://studio.example:8080.evil.example/data/upload/1/a.png"),
        *("file:///etc/passwd", "s3://bucket/a.png", "data/upload/1/a.png", "", "http:/data/upload/1/a.png"),
        *("/data/upload/../../api/token", "/data/upload/%2e%2e/%2e%2e/api/token", "/data/upload/%252e%252e/a.png"),
        *("/data/upload/..\\a.png", "/data/upload/1/a\r\nX: y", "/api/projects", "/data/avatars/a.png", "http://[::1"),
        *("data:text/html;base64,AAAA", "data:image/png,AAAA", "data:image/png;base64,A A"),
        f"data:image/png;base64,{'A' * 2_000_000}",
    ],
)  # fmt: skip
def test_no_other_address_is_fetched(address: str) -> None:
    with pytest.raises(AddressRefused) as raised:
        fetched(photos(), address)
    assert len(str(raised.value)) < 300


def test_addresses_below_the_given_one_are_fetched_there() -> None:
    plain, below = photos(), photos(path="/tools/studio/")
    assert plain.url_of(UPLOAD) == f"http://studio.example:8080{UPLOAD}"
    assert plain.url_of(f"http://studio.example:8080{UPLOAD}#x") == f"http://studio.example:8080{UPLOAD}"
    local = "/data/local-files/?d=more%20photos/a.png"
    assert plain.url_of(local) == f"http://studio.example:8080{local}"
    for address in (UPLOAD, f"/tools/studio{UPLOAD}", f"http://studio.example:8080/tools/studio{UPLOAD}"):
        assert below.url_of(address) == f"http://studio.example:8080/tools/studio{UPLOAD}"
    assert [studio_file_name(each) for each in (UPLOAD, local, "data:image/png;base64,AAAA")] == [
        *("90c21667-blue.png", "a.png", "")
    ]


def test_a_photo_comes_with_the_token_and_within_the_limits(studio_stand_in: Studio) -> None:  # noqa: F811
    image = encoded("PNG")
    studio_stand_in.files |= {
        UPLOAD: (200, {}, image),
        "/data/upload/elsewhere": (302, {"location": UPLOAD}, b""),
        "/data/upload/large": (200, {}, b"x" * 100_001),
        "/data/upload/packed": (200, {"content-encoding": "gzip"}, b"x"),
    }
    assert fetched(photos(studio_stand_in), UPLOAD) == image
    assert fetched(photos(studio_stand_in, key="legacy"), UPLOAD) == image
    assert fetched(photos(studio_stand_in, key=PERSONAL), UPLOAD) == image
    assert [token for _, token in studio_stand_in.asked] == ["", "Token legacy", f"Bearer {ACCESS}"]
    small = photos(studio_stand_in, megabytes=0.1)
    for name, message in (
        ("elsewhere", "answered 302 for .*, and redirects are not followed"),
        ("large", "is too large; 0.1 MB are allowed"),
        ("packed", "compressed"),
        ("missing", "answered 404"),
    ):
        with pytest.raises(PhotoNotFetched, match=message):
            fetched(small, f"/data/upload/{name}")
    with pytest.raises(PhotoNotFetched, match="answered 401 to the token"):
        fetched(photos(studio_stand_in, key="an.other.token"), UPLOAD)
    closed = LabelStudioPhotos(Settings.model_construct(label_studio_url="http://127.0.0.1:9", label_studio_key=None))
    with pytest.raises(PhotoNotFetched, match="could not be fetched"):
        fetched(closed, UPLOAD)
    embedded = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    assert fetched(photos(), embedded) == image


def test_without_the_setting_only_embedded_photos_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    without = LabelStudioPhotos(Settings())
    with pytest.raises(AddressRefused, match="HANDFUL_LABEL_STUDIO_URL is not set"):
        fetched(without, UPLOAD)
    for wrong in ("studio.example", "ftp://studio.example", "http://me:secret@studio.example", "http://a/?b=c"):
        monkeypatch.setenv("HANDFUL_LABEL_STUDIO_URL", wrong)
        with pytest.raises(UsageError, match="HANDFUL_LABEL_STUDIO_URL is no address"):
            Settings.from_environ()


def test_the_configuration_names_the_choice_and_the_image() -> None:
    config = LabelConfig.parse(CONFIG)
    assert (config.control, config.image, config.field) == ("choice", "image", "image")
    region = config.result("blue", 0.75)
    assert region == {
        "from_name": "choice",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["blue"]},
        "score": 0.75,
    }
    assert config.label_of([region]) == "blue"
    several = {**region, "value": {"choices": ["blue", "red"]}}
    other = {**region, "from_name": "quality"}
    assert [config.label_of(each) for each in ([], [several], [other], [region, region])] == [None] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no xml", "is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "only plain XML"),
        ("<View><Text name='text' value='$text'/><Choices name='a' toName='text'/></View>", "no choice of labels"),
        ("<View><Image name='image' value='$image'/></View>", "no choice of labels"),
        (CONFIG.replace("$image", "https://a/b.png"), "one like '\\$image' is expected"),
    ],
)
def test_other_configurations_are_refused(text: str, message: str) -> None:
    with pytest.raises(LabelConfigWrong, match=message):
        LabelConfig.parse(text)
