"""The card -> the Hub's model card (`README.md`): YAML front matter, then what a reader wants to know."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from service.artifact.card import ModelCard


def render_readme(card: ModelCard) -> str:
    """Deterministic; every number in it comes from the card."""
    return f"---\n{_front_matter(card)}\n---\n\n{_body(card)}"


def _front_matter(card: ModelCard) -> str:
    results = [
        EvalResult(
            "image-classification", "images", card.name, card.name, metric, getattr(card.cross_validation, metric)
        )
        for metric in ("accuracy", "macro_f1", "log_loss", "ece")
    ]
    base = card.backbone.ref if "/" in card.backbone.ref and card.backbone.revision else None
    data = ModelCardData(
        base_model=base,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "handful"],
        model_name=card.model,
        eval_results=results,
    )
    return data.to_yaml()


def _body(card: ModelCard) -> str:
    cv = card.cross_validation
    low, high = cv.accuracy_ci95
    rows = "\n".join(
        f"| {_cell(label)} | {card.data.per_label[label]} | {' | '.join(str(n) for n in row)} |"
        for label, row in zip(card.labels, cv.confusion, strict=True)
    )
    names = " | ".join(_cell(label) for label in card.labels)
    revision = f" at commit `{card.backbone.revision}`" if card.backbone.revision else ""
    return f"""# {card.model}

Tells {len(card.labels)} labels apart: {", ".join(card.labels)}. Trained with handful on {card.data.images} images
({card.data.skipped} skipped), {card.created_at:%Y-%m-%d}, seed {card.seed}.

- Backbone: `{card.backbone.ref}`{revision}, weights sha256 `{card.backbone.sha256}`, frozen.
- Head: {card.head.kind}, {", ".join(f"{k} {v}" for k, v in card.head.settings.items())}.
- Accuracy {cv.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}) in {cv.folds}-fold cross-validation
  repeated {cv.repeats} times; macro F1 {cv.macro_f1:.3f}, log loss {cv.log_loss:.3f}.
- Probabilities are calibrated with temperature {card.temperature:.3f}; expected calibration error {cv.ece:.3f}.
- Images that resemble no label are *unknown* ({card.unknown.method}); {cv.unknown_rate:.1%} of the training images
  are refused out of fold.

| label | images | {names} |
|---|---|{"---|" * len(card.labels)}
{rows}

Rows are the folder's labels, columns the answers out of fold. Cross-validation tells how it does on photos like
these; photos of another style may fare worse.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
