"""The labelling configuration of a project, in Label Studio's XML -> the names that its results must carry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from handful.service.artifact.label_names import normal_label
from handful.service.http.filenames import quoted
from handful.service.http.label_studio_errors import LabelConfigWrong

EXPECTED = '<Image name="image" value="$image"/> and <Choices name="label" toName="image"> are expected.'
_DECLARATION = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True)
class LabelConfig:
    """One choice of labels for one image."""

    control: str  # the name of <Choices>: `from_name` of a result
    image: str  # the name of <Image>: `to_name`
    field: str  # of a task's data, which holds the photo's address
    choices: dict[str, str]  # label -> the choice as Label Studio writes it

    @classmethod
    def parse(cls, text: str) -> LabelConfig:
        """Raises `LabelConfigWrong`."""
        if _DECLARATION.search(text):
            raise LabelConfigWrong("The labelling configuration declares entities; only plain XML is read.")
        try:
            tags = list(ElementTree.fromstring(text).iter())  # noqa: S314 - without declarations nothing expands
        except ElementTree.ParseError as e:
            raise LabelConfigWrong(f"The labelling configuration is no XML ({e}).") from e
        images = {tag.get("name", ""): tag.get("value", "") for tag in tags if tag.tag == "Image"}
        choices = next((tag for tag in tags if tag.tag == "Choices" and tag.get("toName") in images), None)
        if choices is None:
            raise LabelConfigWrong(f"The labelling configuration has no choice of labels for an image; {EXPECTED}")
        image = choices.get("toName", "")
        if not images[image].startswith("$"):
            raise LabelConfigWrong(f"The image's value is {quoted(images[image])}; one like '$image' is expected.")
        names = [tag.get("alias") or tag.get("value") or "" for tag in choices.iter("Choice")]
        return cls(choices.get("name", ""), image, images[image][1:], {normal_label(each): each for each in names})

    def result(self, label: str, confidence: float) -> dict[str, object]:
        """A region of a prediction that says this label, which must be one of the choices."""
        return {
            "from_name": self.control,
            "to_name": self.image,
            "type": "choices",
            "value": {"choices": [self.choices[label]]},
            "score": confidence,
        }

    def label_of(self, regions: list[dict[str, object]]) -> str | None:
        """The one label that an annotation gives; None where it gives none or several."""
        given = [
            choice
            for region in regions
            if region.get("from_name") == self.control and isinstance(value := region.get("value"), dict)
            for choice in value.get("choices") or []
        ]
        return given[0] if len(given) == 1 and isinstance(given[0], str) else None
