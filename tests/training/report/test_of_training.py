"""The report of a training run, made from tiny random embeddings and pictures."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from handful.service.artifact.card import BackboneCard, CrossValidationCard, DataCard, HeadCard, ModelCard, UnknownCard
from handful.service.artifact.findings import read_findings
from handful.service.artifact.unknown import UnknownDetector
from handful.training.embeddings import Embedded
from handful.training.head.fit import Fitted
from handful.training.head.folds import Folds
from handful.training.head.linear import LinearHead
from handful.training.head.selection import SelectedHead
from handful.training.metrics import metrics
from handful.training.photos.inspection import Inspected
from handful.training.photos.sources import Problem
from handful.training.report.learning_curve import curve_of
from handful.training.report.of_training import write_report
from PIL import Image

STRANGE = ("Sac à main", "靴", 'a,b"c', "<script>alert(1)</script>", "$x^2$", "_", "\u202egnp.tac", "a\nb")
PICTURES = {"confusion.png", "embedding_map.png", "learning_curve.png", "reliability.png", "refusal.png"}
VOID = {"meta", "img", "br"}


def inspected_of(labels: tuple[str, ...], per_label: int, root: Path, problems: tuple[Problem, ...] = ()) -> Inspected:
    """Overlapping clusters of embeddings, one per label, without files."""
    random = np.random.default_rng(0)
    index = np.repeat(np.arange(len(labels)), per_label)
    embeddings = random.normal(size=(len(labels), 12))[index] + random.normal(scale=0.7, size=(len(index), 12))
    images = tuple(
        Embedded(root / f"{label}" / f"{row}.png", "0" * 64, "0" * 64, embedding.astype(np.float32))
        for row, (label, embedding) in enumerate(zip(index, embeddings, strict=True))
    )
    return Inspected(labels, images, index, np.arange(len(index)), problems, len(index), root=root)


def fitted_of(inspected: Inspected, mistakes: int) -> Fitted:
    """Simulated answers: the first `mistakes` photos are wrong, with confidence 0.95 and 0.6 in turn; others right."""
    labels, count = inspected.label_index, len(inspected.labels)
    answers = labels.copy()
    answers[:mistakes] = (answers[:mistakes] + 1) % count
    confidence = np.full(len(labels), 0.9)
    confidence[:mistakes:2], confidence[1:mistakes:2] = 0.95, 0.6
    probabilities = np.repeat((1 - confidence)[:, None] / (count - 1), count, axis=1)
    probabilities[np.arange(len(labels)), answers] = confidence
    linear = LinearHead(np.zeros((count, 12), np.float32), np.zeros(count, np.float32))
    head = SelectedHead(linear, {"strength": 1.0}, np.log(probabilities).astype(np.float32), [])
    unknown = UnknownDetector.of(np.eye(count, 12, dtype=np.float32), 0.8)
    scores = np.linspace(0.1, 1, len(labels))
    measured, folds = metrics(probabilities, labels, inspected.labels), np.zeros((len(labels), 1), dtype=np.uint8)
    return Fitted(head, 1.0, unknown, measured, probabilities, scores, Folds(folds))


def card_of(inspected: Inspected, fitted: Fitted) -> ModelCard:
    measured = fitted.metrics.model_dump(exclude={"images"})
    images = len(inspected.images)
    return ModelCard(
        name="bags",
        version="3",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        labels=inspected.labels,
        backbone=BackboneCard(ref="builtin", revision=None, sha256="0" * 64),
        head=HeadCard(kind="linear", settings={"strength": 1.0}),
        temperature=1.0,
        unknown=UnknownCard(method="cosine_to_label_mean", threshold=0.8),
        cross_validation=CrossValidationCard(folds=5, repeats=1, unknown_rate=0.2, **measured),
        data=DataCard(fingerprint="0" * 64, images=images, skipped=0, per_label=inspected.per_label),
        seed=0,
        libraries={"torch": "2"},
        files={},
    )


def report_of(folder: Path, inspected: Inspected, mistakes: int = 2) -> str:
    fitted = fitted_of(inspected, mistakes)
    write_report(folder, card_of(inspected, fitted), inspected, fitted, curve_of(inspected, fitted, 0))
    return (folder / "report.html").read_text(encoding="utf-8")


def save_pictures(inspected: Inspected) -> None:
    for row, image in enumerate(inspected.images):
        image.path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (row % 256, 90, 140)).save(image.path)


class Page(HTMLParser):
    """What a browser would see: texts, addresses, elements, and which elements are still open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def words(page: str) -> str:
    return " ".join("".join(Page(page).texts).split())


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    inspected = inspected_of(("bags", "shoes"), 10, tmp_path)
    save_pictures(inspected)
    text = report_of(tmp_path / "report", inspected)
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.elements)
    assert not re.search(r"https?:|url\(|@import", text)
    assert page.open == []


def test_the_pictures_lie_beside_the_page(tmp_path: Path) -> None:
    inspected = inspected_of(("bags", "shoes"), 10, tmp_path)
    save_pictures(inspected)
    report_of(tmp_path / "report", inspected)
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written == PICTURES | {"mistakes.png", "report.html", "findings.json"}
    for name in written - {"report.html", "findings.json"}:
        with Image.open(tmp_path / "report" / name) as picture:
            picture.verify()


def test_the_accuracy_stands_with_its_interval(tmp_path: Path) -> None:
    text = words(report_of(tmp_path, inspected_of(("bags", "shoes"), 10, tmp_path)))
    assert "90.0 % of the photos" in text
    assert "18 of 20 photos" in text
    assert "69.9 % to 97.2 %" in text


def test_the_verdict_and_what_to_do_come_before_numbers_and_problems_are_not_folded_away(tmp_path: Path) -> None:
    problems = (
        Problem("bags/cut.jpg", "image_truncated", "The image is truncated."),
        Problem("bags/1.jpg", "near_duplicate", "It looks like bags/2.jpg."),
        Problem("beside.jpg", "no_label", "It lies beside the labels."),
    )
    inspected = replace(
        inspected_of(("bags", "shoes"), 10, tmp_path, problems), found=23, left_out={"unreadable": 1, "duplicate": 2}
    )
    page = report_of(tmp_path / "report", inspected)
    text = words(page)
    order = [
        *("Not yet reliable", "What to do next", "Mistakes", "The photos", "Left out", "Used, but worth a look"),
        *("Would more photos help?", "What the accuracy means", "Label by label", "How it was made"),
    ]
    places = [page.index(f">{each}<") for each in order]
    assert places == sorted(places)
    assert "held 23 files: 20 used, 3 left out (1 unreadable, 2 the same as another photo)" in text
    assert "1 more file lies beside the labels’ folders" in text
    assert "details" not in Page(page).elements


def test_a_model_that_guesses_says_so_first_and_accuses_no_label(tmp_path: Path) -> None:
    inspected = inspected_of(("bags", "shoes"), 10, tmp_path)
    page = report_of(tmp_path / "report", inspected, mistakes=10)
    text = words(page)
    assert text.index("No better than guessing") < text.index("50.0 % of the photos were labelled right")
    assert "Is the folder right?" not in text
    assert "Is the folder right?" in words(report_of(tmp_path / "other", inspected, mistakes=2))


def test_a_photo_without_its_file_is_shown_and_named_as_the_artifact_keeps_it(tmp_path: Path) -> None:
    """Of a retrain's known photos only the first, which an older artifact kept nothing of, cannot be shown."""
    inspected = inspected_of(("bags", "shoes"), 10, tmp_path)
    buffer = io.BytesIO()
    Image.new("RGB", (96, 60), (200, 30, 30)).save(buffer, "JPEG")
    known = [replace(inspected.images[0], kept_as="")]
    known += [replace(each, thumbnail=buffer.getvalue(), kept_as="bags/red.jpg") for each in inspected.images[1:]]
    page = Page(report_of(tmp_path / "report", replace(inspected, images=tuple(known), known=20)))
    assert "bags/red.jpg (learned before)" in page.texts
    assert "a photo learned before (000000000000…)" in page.texts
    assert page.texts.count("The photo is not available.") == 1
    assert sum(address.startswith("data:image/jpeg") for address in page.addresses) == 1


def test_strange_labels_are_shown_as_text_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    problems = (Problem("<b>.jpg", "near_duplicate", "It looks like <i>.jpg."),)
    page = Page(report_of(tmp_path / "report", inspected_of(STRANGE, 6, tmp_path, problems), mistakes=20))
    text = "".join(page.texts)
    assert all(label in text for label in (*STRANGE, "<b>.jpg", "<i>.jpg"))
    assert not {"script", "b", "i"} & set(page.elements)
    assert page.open == []
    assert not [w for w in recwarn if "lyph" in str(w.message)]


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    inspected = inspected_of(STRANGE, 6, tmp_path)
    save_pictures(inspected)
    for name in ("one", "two"):
        report_of(tmp_path / name, inspected)
    assert (tmp_path / "one/mistakes.png").is_file()
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_photo_that_is_gone_is_still_named(tmp_path: Path) -> None:
    page = Page(report_of(tmp_path / "report", inspected_of(("bags", "shoes"), 10, tmp_path)))
    assert "The photo is not available." in page.texts
    assert "0/0.png" in page.texts
    assert (tmp_path / "report/mistakes.png").is_file()


def test_folders_above_the_label_are_not_shown(tmp_path: Path) -> None:
    inspected = inspected_of(("0", "1"), 10, tmp_path / "home" / "someone")
    save_pictures(inspected)
    page = Page(report_of(tmp_path / "report", inspected))
    assert "0/0.png" in page.texts
    assert "someone" not in "".join(page.texts)


def test_without_a_mistake_there_is_no_mistakes_png(tmp_path: Path) -> None:
    page = Page(report_of(tmp_path, inspected_of(("bags", "shoes"), 10, tmp_path), mistakes=0))
    assert "There were none." in page.texts
    assert {path.name for path in tmp_path.iterdir()} == PICTURES | {"report.html", "findings.json"}


def test_the_findings_name_the_photos_that_the_report_shows(tmp_path: Path) -> None:
    inspected = inspected_of(("bags", "shoes"), 10, tmp_path)
    report_of(tmp_path / "report", inspected, mistakes=1)
    found = read_findings(tmp_path)
    assert found is not None
    (mistake,), (suspect,) = found.mistakes, found.suspects
    assert (found.mistake_count, found.suspect_count) == (1, 1)
    assert mistake.name == inspected.names[mistake.row]
    assert mistake.sha256 == inspected.images[mistake.row].content_sha256
    assert {mistake.label, mistake.answer} == {"bags", "shoes"}
    assert suspect.row == mistake.row
    assert f"% sure that it shows {suspect.answer} and" in (suspect.reason or "")


def test_a_confidently_contradicted_photo_is_suspected_first(tmp_path: Path) -> None:
    texts = Page(report_of(tmp_path, inspected_of(("bags", "shoes"), 10, tmp_path), mistakes=1)).texts
    assert "Is the folder right?" in texts
    assert "Other mistakes" not in texts


@pytest.mark.slow
def test_hundreds_of_labels_fit_on_the_page(tmp_path: Path) -> None:
    labels = tuple(f"label number {number}" for number in range(300))
    page = Page(report_of(tmp_path, inspected_of(labels, 5, tmp_path), mistakes=200))
    text = "".join(page.texts)
    assert all(label in text for label in labels)
    assert "the 12 labels with the most mistakes of 300" in text
    with Image.open(tmp_path / "confusion.png") as picture:
        assert max(picture.size) < 1000


def test_five_photos_of_two_labels_are_enough(tmp_path: Path) -> None:
    page = Page(report_of(tmp_path, inspected_of(("bags", "shoes"), 5, tmp_path), mistakes=1))
    assert (tmp_path / "learning_curve.png").is_file()
    assert page.open == []


def test_photos_that_all_look_the_same_can_be_reported(tmp_path: Path) -> None:
    inspected = inspected_of(("bags", "shoes"), 5, tmp_path)
    same = tuple(Embedded(i.path, i.content_sha256, i.pixels_sha256, np.ones(12, np.float32)) for i in inspected.images)
    text = report_of(tmp_path, Inspected(inspected.labels, same, inspected.label_index, inspected.groups, (), 10))
    assert "nan" not in Page(text).texts
