"""Settings: everything about the service that is not in the artifact, read once from `HANDFUL_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from handful.service.artifact.errors import UsageError
from handful.service.artifact.limits import MAX_DECODE_MEGABYTES, MAX_MEGABYTES, MAX_MEGAPIXELS, decode_megabytes
from handful.service.artifact.remote import check_model_url
from pydantic import AliasGenerator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "HANDFUL_"
ANNOUNCED = "HANDFUL_ANNOUNCED"  # set for workers whose command itself says what is served first
MIN_KEY_LETTERS = 16  # guessing over HTTP is then hopeless, if the key is random
MAX_KEYS = 2


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return PREFIX + field.upper()


def _keys(secret: SecretStr | None) -> tuple[str, ...]:
    return tuple(key.strip() for key in secret.get_secret_value().split(",")) if secret else ()


def _check_each(name: str, keys: tuple[str, ...]) -> None:
    if len(keys) > MAX_KEYS:
        raise ValueError(f"{name} has {len(keys)} keys; one, or two separated by a comma, are allowed")
    for key in keys:
        if len(key) < MIN_KEY_LETTERS:
            raise ValueError(f"{name} has a key of {len(key)} characters; at least {MIN_KEY_LETTERS} are required")
        if not all("!" <= letter <= "~" for letter in key):
            raise ValueError(f"{name} has a character that no header can carry; ASCII without spaces is allowed")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Each field is set by the environment variable `HANDFUL_` + its name in capitals; an empty one counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        case_sensitive=True,
        env_prefix=PREFIX,  # without it a variable `name` would be read, too
        env_ignore_empty=True,
        alias_generator=AliasGenerator(validation_alias=variable),
        validate_by_name=True,
    )

    name: str | None = Field(
        None, description="the default model, whose champion answers /predict; unset: the model that was made first"
    )
    model: Path | None = Field(
        None,
        description="folder of one artifact, or an exported .onnx file, served for ever instead of a champion",
    )
    follow: str | None = Field(
        None,
        description="address of a model, such as s3://bucket/models/NAME, that `handful models push` fills: its"
        " champion is the default model's here, and swapped when it changes there",
    )
    follow_seconds: float = Field(3.0, gt=0, le=3600, description="seconds between looks at that address")
    api_key: SecretStr | None = Field(
        None,
        description="clients send it as `Authorization: Bearer KEY`; 16 characters or more; two, comma-separated, are"
        " both valid, so that clients can change over; unset: no key, and only this machine is answered",
    )
    predict_key: SecretStr | None = Field(
        None,
        description="one or two keys that may ask, but neither change anything nor see photos; needs HANDFUL_API_KEY",
    )
    max_models: int = Field(
        8, ge=2, le=10_000, description="models in memory at once per worker; the one not asked for longest gives way"
    )
    max_model_megabytes: float = Field(
        4000.0, gt=0, description="MB that they may take in memory together per worker, measured when each is loaded"
    )
    workers: int = Field(
        1, ge=1, le=256, description="processes, each with its own network; one per device is usually enough"
    )
    max_image_megabytes: float = Field(MAX_MEGABYTES, gt=0, le=1000, description="MB per encoded image")
    max_megapixels: float = Field(MAX_MEGAPIXELS, gt=0, description="megapixels per image")
    max_decode_megabytes: float = Field(
        MAX_DECODE_MEGABYTES,
        ge=100,
        le=1_000_000,
        description="MB in which large images are decoded at once per worker; one that needs more is refused; unset: 9"
        " per megapixel that is allowed, at least 900",
    )
    decode_seconds: float = Field(
        10.0, gt=0, le=3600, description="seconds of computing in which an image must be decoded, else 413"
    )
    max_images: int = Field(64, ge=1, le=1024, description="images per /predict_many")
    max_request_megabytes: float = Field(100.0, gt=0, le=4000, description="MB per /predict_many, all images together")
    max_waiting_images: int = Field(
        256,
        ge=1,
        description="images per worker that are accepted and not yet answered; above it 503 instead of a longer wait",
    )
    max_held_megabytes: float = Field(
        400.0, gt=0, description="MB of request bodies in memory at once per worker; above it 503 instead of swapping"
    )
    batch_images: int = Field(
        32, ge=1, le=1024, description="images that the network computes at once; more gains little"
    )
    body_seconds: float = Field(30.0, gt=0, description="seconds within which a body must arrive, else 408")
    answer_seconds: float = Field(30.0, gt=0, description="seconds from the body to the answer, else 503")
    head_seconds: float = Field(
        10.0, gt=0, description="seconds within which a connection must send the head of a request, else it is closed"
    )
    max_connections: int = Field(
        1000, ge=10, description="connections per worker; above it those that have been silent longest are closed"
    )
    stuck_seconds: float = Field(
        30.0, ge=2, description="seconds without a sign of life after which a worker is killed and replaced"
    )
    drain_seconds: float = Field(
        30.0, gt=0, description="seconds that requests in flight have left after SIGTERM before the service ends"
    )
    explain_idle_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="seconds without a request after which a worker's process for heat maps ends, and gives its memory"
        " back",
    )
    poll_seconds: float = Field(
        0.5, gt=0, description="seconds between looks at the champion: how soon a new one is served"
    )
    max_jobs: int = Field(
        4,
        ge=0,
        le=1000,
        description="jobs per model (train, retrain, evaluate) that wait or run at once; 0: none over HTTP",
    )
    max_retrain_megabytes: float = Field(
        500.0,
        gt=0,
        le=100_000,
        description="MB per zip of photos, unpacked at most four times that; also MB per upload to the photo library",
    )
    max_retrain_files: int = Field(
        10_000, ge=1, le=1_000_000, description="entries per zip, and photos per upload to the library"
    )
    upload_seconds: float = Field(
        600.0,
        gt=0,
        description="seconds within which a zip or an upload of photos must arrive, else 408; as long to unpack it",
    )
    retrain_seconds: float = Field(7200.0, gt=0, description="seconds that a job may run before it is stopped")
    kept_jobs: int = Field(50, ge=1, le=10_000, description="ended jobs that GET /jobs still lists")
    backbones: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)] = Field(
        ("builtin", "builtin-resnet", "auto"),
        description="comma-separated networks that a training over HTTP may start from; the first one where none is"
        " asked for",
    )
    feedback: Path | None = Field(
        None, description="folder that POST /feedback sorts corrected images into; unset: the call answers 404"
    )
    max_feedback_megabytes: float = Field(1000.0, gt=0, description="MB in that folder, all labels together")
    max_feedback_images: int = Field(10_000, ge=1, description="images in that folder")
    max_library_megabytes: float = Field(
        20_000.0, gt=0, description="MB of photos in the photo library of one model, all labels together"
    )
    max_library_photos: int = Field(20_000, ge=1, le=1_000_000, description="photos in the photo library of one model")
    label_source: Path | None = Field(
        None, description="folder of unlabelled photos that the page's screen Label shows; `handful label` sets it"
    )
    label_model: str | None = Field(None, description="the model that learns them; unset: called as that folder is")
    label_out: Path | None = Field(
        None, description="folder that gets a link to each of them in a folder of its label, and a manifest.csv"
    )
    label_copy: bool = Field(default=False, description="whether it gets copies instead of links")
    label_studio: bool = Field(
        default=False,
        description="whether Label Studio's calls are answered, below /label-studio; `serve --label-studio` sets it",
    )
    label_studio_url: str | None = Field(
        None,
        description="where that Label Studio is: uploads and local files of its tasks are fetched from there alone",
    )
    label_studio_key: SecretStr | None = Field(
        None, description="its access token, a personal or a legacy one, with which they are fetched"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="comma-separated origins whose web pages may call the service; none: CORS is off"
    )

    @property
    def decode_megabytes(self) -> float:
        """`max_decode_megabytes`, or where that is not set what `max_megapixels` may take."""
        if "max_decode_megabytes" in self.model_fields_set:
            return self.max_decode_megabytes
        return decode_megabytes(self.max_megapixels)

    @property
    def default_name(self) -> str | None:
        """Of the model that answers the short calls: as it is set, else as the followed address ends."""
        return self.name or (check_model_url(self.follow) if self.follow else None)

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that are valid now: none, one or two."""
        return _keys(self.api_key)

    @property
    def predict_keys(self) -> tuple[str, ...]:
        """The keys that may only ask: none, one or two."""
        return _keys(self.predict_key)

    @model_validator(mode="after")
    def _check_follow(self) -> Self:
        if self.follow is None:
            return self
        if self.model is not None:
            raise ValueError(
                f"{variable('follow')} and {variable('model')} are both set; one of them is expected: the champion of"
                " an address, or one version for ever"
            )
        try:
            check_model_url(self.follow)
        except UsageError as e:
            raise ValueError(f"{variable('follow')}: {str(e).rstrip('.')}") from e
        return self

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        """No error may show the key: it would reach a log."""
        api, predict = variable("api_key"), variable("predict_key")
        _check_each(api, self.api_keys)
        _check_each(predict, self.predict_keys)
        if self.predict_keys and not self.api_keys:
            raise ValueError(f"{predict} is set without {api}; both are needed, as nobody could change anything else")
        if set(self.predict_keys) & set(self.api_keys):
            raise ValueError(f"{predict} has a key of {api}; another one is needed")
        return self

    @model_validator(mode="after")
    def _check_label_studio(self) -> Self:
        if self.label_studio_url is None:
            return self
        parts = urlsplit(self.label_studio_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError(
                f"{variable('label_studio_url')} is no address of the form http://HOST[:PORT][/PATH] without a user"
            )
        return self

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for lower, upper in (
            ("max_images", "max_waiting_images"),
            ("max_image_megabytes", "max_request_megabytes"),
            ("max_request_megabytes", "max_held_megabytes"),
        ):
            low, high = getattr(self, lower), getattr(self, upper)
            if low > high:
                raise ValueError(f"{variable(lower)} is {low:g}; at most {variable(upper)}, {high:g}, is allowed")
        return self

    @classmethod
    def from_environ(cls) -> Settings:
        """Raises a `UsageError` that names the variable, its value and what is allowed."""
        try:
            return cls()
        except ValidationError as e:
            error = e.errors()[0]
            if not error["loc"]:
                raise UsageError(f"{error['ctx']['error']}.") from e
            name = error["loc"][0]
            secret = name in {variable(key) for key in ("api_key", "predict_key", "label_studio_key")}
            value = "set" if secret else repr(error["input"])  # a key must not reach a log
            raise UsageError(f"{name} is {value}: {error['msg']}.") from e
