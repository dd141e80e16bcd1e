"""What `classify` prints for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.service.terminal.answers import classify_text


def row(path: str, label: str, confidence: float = 0.9, error: str = "") -> dict[str, Any]:
    if error:
        return {"path": path, "label": "", "error": error}
    probabilities = {"probability_bags": confidence, "probability_shoes": 1 - confidence}
    unknown = label == ""
    return {"path": path, "label": label, "confidence": confidence, "unknown": unknown, "error": "", **probabilities}


def result(**parts: Any) -> dict[str, Any]:
    counts = {"images": 4, "failed": 1, "unknown": 1, "per_label": {"bags": 2, "shoes": 0}}
    return {"model": "shop:3", **counts, "left_out": {}, "formulas": 0, **parts}


def test_several_photos_are_a_table_with_counts_and_the_least_sure_is_offered_to_be_explained() -> None:
    rows = [
        row("a.jpg", "bags"),
        row("b c.jpg", "bags", 0.6),
        row("d.jpg", "", 0.7),
        row("e.jpg", "", error="image_truncated: It ends too early."),
    ]
    assert classify_text(result(rows=rows), Path("new")).splitlines() == [
        "bags       90.0%  a.jpg",
        "bags       60.0%  b c.jpg",
        "unknown           d.jpg (most like bags, 70%)",
        "not read          e.jpg: It ends too early.",
        "",
        "4 photos with shop:3: bags 2, unknown 1, not readable 1",
        "",
        "Next:",
        "  why it is least sure of this one:",
        "    handful explain 'new/b c.jpg' --out explained.png --model shop:3",
    ]


def test_one_photo_is_a_sentence_with_the_probable_labels() -> None:
    text = classify_text(result(rows=[row("a.jpg", "bags")], images=1), Path())
    assert text.startswith("a.jpg: bags, 90.0% sure\n    bags    90.0%\n    shoes   10.0%\n")
    unknown = classify_text(result(rows=[row("a.jpg", "")], images=1), Path())
    assert unknown.startswith("a.jpg: unknown, because it resembles none of the labels")
    failed = result(rows=[row("a.jpg", "", error="not_an_image: No image.")], images=1)
    assert classify_text(failed, Path()) == "a.jpg could not be read: No image."


def test_rows_in_a_file_leave_the_counts() -> None:
    lines = classify_text(result(out="rows.csv", images_per_second=9.5), Path()).splitlines()
    assert lines[0] == "4 photos with shop:3: bags 2, unknown 1, not readable 1"
    assert lines[1].startswith("rows: rows.csv")
    assert lines[-1] == "    handful retrain FOLDER --model shop"
