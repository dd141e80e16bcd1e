"""Settings: everything about the service that is not in the artifact, read once from `HANDFUL_*`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from handful.service.artifact.errors import UsageError
from handful.service.artifact.images import MAX_MEGABYTES, MAX_MEGAPIXELS
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

PREFIX = "HANDFUL_"


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """Each field is the environment variable `HANDFUL_` + its name in capitals; an empty one counts as unset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = Field(None, description="model whose champion is served; unset: the only name there is")
    model: Path | None = Field(None, description="folder of one artifact, served instead of a champion, for ever")
    api_key: SecretStr | None = Field(
        None,
        description="clients send `Authorization: Bearer KEY`; unset: no key, and only loopback is answered",
    )
    workers: int = Field(1, ge=1, le=256, description="processes; one suffices a device, each holds its own network")
    max_image_megabytes: float = Field(MAX_MEGABYTES, gt=0, le=1000, description="MB an image, encoded")
    max_megapixels: float = Field(MAX_MEGAPIXELS, gt=0, description="megapixels an image; each takes 3 MB to decode")
    max_images: int = Field(64, ge=1, le=1024, description="images a /predict_many")
    max_request_megabytes: float = Field(100.0, gt=0, le=4000, description="MB a /predict_many, all images together")
    max_waiting_images: int = Field(
        256, ge=1, description="images accepted and not yet answered, a worker; above it 503 instead of a longer wait"
    )
    max_held_megabytes: float = Field(
        400.0, gt=0, description="MB of request bodies in memory at once, a worker; above it 503 instead of swapping"
    )
    batch_images: int = Field(32, ge=1, le=1024, description="images the network takes at once; more gains little")
    body_seconds: float = Field(30.0, gt=0, description="s until a body must have arrived; a slow sender gets 408")
    answer_seconds: float = Field(30.0, gt=0, description="s from body to answer, then 503: nobody waits longer")
    drain_seconds: float = Field(30.0, gt=0, description="s that SIGTERM leaves to requests in flight before the end")
    poll_seconds: float = Field(0.5, gt=0, description="s between looks at the pointer: how soon a champion serves")
    max_jobs: int = Field(
        4, ge=0, le=1000, description="retrainings of a model that wait or run at once; 0: none over HTTP"
    )
    max_retrain_megabytes: float = Field(
        500.0, gt=0, le=100_000, description="MB a /retrain, zipped; unpacked at most four times that"
    )
    max_retrain_files: int = Field(10_000, ge=1, le=1_000_000, description="entries in the zip of a /retrain")
    upload_seconds: float = Field(600.0, gt=0, description="s until a /retrain's body must have arrived, else 408")
    retrain_seconds: float = Field(7200.0, gt=0, description="s that a retraining may run before it is ended")
    kept_jobs: int = Field(50, ge=1, le=10_000, description="ended retrainings that GET /retrain still tells of")
    feedback: Path | None = Field(
        None, description="folder that POST /feedback sorts corrected images into; unset: there is no such call"
    )
    max_feedback_megabytes: float = Field(1000.0, gt=0, description="MB in that folder, all labels together")
    max_feedback_images: int = Field(10_000, ge=1, description="images in that folder")
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="origins, separated by commas, whose web pages may call the service; none: CORS is off"
    )

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if self.max_images > self.max_waiting_images:
            raise ValueError("max_images must not be above max_waiting_images")
        if not self.max_image_megabytes <= self.max_request_megabytes <= self.max_held_megabytes:
            raise ValueError("max_image_megabytes <= max_request_megabytes <= max_held_megabytes must hold")
        return self

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Raises a `UsageError` that names the variable."""
        given = {field: environ.get(variable(field)) for field in cls.model_fields}
        try:
            return cls.model_validate({field: value for field, value in given.items() if value})
        except ValidationError as e:
            first = e.errors(include_input=False)[0]
            where = variable(str(first["loc"][0])) if first["loc"] else "The settings"
            raise UsageError(f"{where}: {first['msg']}.") from e


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return PREFIX + field.upper()
