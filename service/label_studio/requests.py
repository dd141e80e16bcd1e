"""The bodies that Label Studio sends and reads, as types; what handful has no use for is ignored."""

from __future__ import annotations

from typing import Any

from handful.service.http.json_request import JsonRequest
from pydantic import BaseModel, ConfigDict, Field


class _FromLabelStudio(JsonRequest):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class StudioTask(_FromLabelStudio):
    """A task; its data name the photo's address."""

    id: int | None = None
    data: dict[str, Any]


class SetupRequest(_FromLabelStudio):
    """A project that is connected; `schema` is its labelling configuration."""

    label_config: str = Field(alias="schema")


class TasksRequest(_FromLabelStudio):
    """Tasks to answer."""

    tasks: list[StudioTask] = Field(min_length=1)
    label_config: str


class StudioProject(_FromLabelStudio):
    """A project; its labelling configuration."""

    label_config: str = ""


class StudioAnnotation(_FromLabelStudio):
    """What a person said of a task."""

    result: list[dict[str, Any]] = Field(default_factory=list)
    was_cancelled: bool = False
    task: int | None = None


class EventRequest(_FromLabelStudio):
    """Something that happened in a project; of annotations, one or many with their tasks."""

    action: str
    project: StudioProject = StudioProject()
    annotation: StudioAnnotation | list[StudioAnnotation] | None = None
    task: StudioTask | list[StudioTask] | None = None

    @property
    def annotated(self) -> list[tuple[StudioAnnotation, StudioTask]]:
        """Each annotation with its task."""
        tasks = self.task if isinstance(self.task, list) else [self.task] if self.task else []
        if isinstance(self.annotation, StudioAnnotation):
            return [(self.annotation, task) for task in tasks[:1]]
        by_id = {task.id: task for task in tasks}
        return [(each, by_id[each.task]) for each in self.annotation or [] if each.task in by_id]


class HealthBody(BaseModel):
    """That the service runs."""

    status: str = Field(description="UP")
    model_class: str = Field(description="handful")


class SetupBody(BaseModel):
    """The version that answers."""

    model_version: str | None = Field(description="NAME:VERSION; null before the first one")


class StudioPrediction(BaseModel):
    """The answer for one task, in Label Studio's format; without a result where it is none of the choices."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class TaskAnswersBody(BaseModel):
    """The answers."""

    results: list[StudioPrediction | list[Any]] = Field(
        description="for each task; [] where its photo cannot be read. Of too many tasks the first alone: Label Studio"
        " then asks one by one"
    )


class EventBody(BaseModel):
    """What became of an event."""

    status: str = Field(description="ok or ignored")
    stored: int = Field(description="photos that lie under a new label in the photo library")
    learning: bool = Field(description="whether a job was started that learns them")
