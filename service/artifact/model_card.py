"""The card -> the Hub's model card (`README.md`): YAML front matter, then a description for people."""

from __future__ import annotations

from handful.service.artifact.card import ModelCard

METRICS = {
    "accuracy": "Accuracy, cross-validated",
    "macro_f1": "Macro F1, cross-validated",
    "log_loss": "Log loss, cross-validated",
    "ece": "Expected calibration error, cross-validated",
}


def render_model_card(card: ModelCard, repo: str | None = None, licence: str | None = None) -> str:
    """The same text for the same card: every number comes from it. `repo` is the repository it is pushed to."""
    return f"---\n{_front_matter(card, licence)}\n---\n\n{_body(card)}{_use(card, repo) if repo else ''}"


def _front_matter(card: ModelCard, licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData  # with it YAML, which only writing needs

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="images",
            dataset_name=card.name,
            metric_type=metric,
            metric_name=name,
            metric_value=getattr(card.cross_validation, metric),
        )
        for metric, name in METRICS.items()
        if len(card.labels) > 1
    ]
    data = ModelCardData(
        base_model=card.backbone.ref if card.backbone.revision else None,
        library_name="timm",
        license=licence,
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "handful"],
        model_name=card.model,
        eval_results=results or None,
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
    if len(card.labels) == 1:
        return _body_of_one(card)
    described = _described(card)
    return f"""# {card.model}

Tells {len(card.labels)} labels apart: {", ".join(card.labels)}. Trained with handful on {card.data.images} images
({card.data.skipped} skipped), {card.created_at:%Y-%m-%d}, seed {card.seed}.

**{card.verdict.title}.** {_cell(card.verdict.sentence)}{_forecast(card)}

- Backbone: `{card.backbone.ref}`{revision}{described}, weights sha256 `{card.backbone.sha256}`, {_training(card)}.
- Head: {card.head.kind}, {", ".join(f"{k} {v}" for k, v in card.head.settings.items())}.
- Accuracy {cv.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}) in {cv.folds}-fold cross-validation
  repeated {cv.repeats} times; macro F1 {cv.macro_f1:.3f}, log loss {cv.log_loss:.3f}.
- Probabilities are calibrated with temperature {card.temperature:.3f}; expected calibration error {cv.ece:.3f}.
- Images that resemble no label are *unknown* ({card.unknown.method}); {cv.unknown_rate:.1%} of the training images
  are refused out of fold{_strangers(card)}.

| label | images | {names} |
|---|---|{"---|" * len(card.labels)}
{rows}

Rows are the folder's labels, columns the answers out of fold. Cross-validation tells how it does on photos like
these; photos of another style may fare worse.
"""


def _described(card: ModelCard) -> str:
    """What the network is, and the licence of its weights, as far as the card says so."""
    backbone = card.backbone
    licence = f"licence {backbone.licence}" if backbone.licence else None
    words = ", ".join(_cell(each) for each in (backbone.architecture, licence) if each)
    return f" ({words})" if words else ""


def _body_of_one(card: ModelCard) -> str:
    cv, label = card.cross_validation, card.labels[0]
    low, high = cv.accuracy_ci95
    revision = f" at commit `{card.backbone.revision}`" if card.backbone.revision else ""
    return f"""# {card.model}

Answers *{label}* or *unknown*. Trained with handful on {card.data.images} images ({card.data.skipped} skipped),
{card.created_at:%Y-%m-%d}, seed {card.seed}.

**{card.verdict.title}.** {_cell(card.verdict.sentence)}

- Backbone: `{card.backbone.ref}`{revision}{_described(card)},
  weights sha256 `{card.backbone.sha256}`, {_training(card)}.
- Recognised: {cv.accuracy:.1%} of the training images (95 % interval {low:.1%} to {high:.1%}) in {cv.folds}-fold
  cross-validation repeated {cv.repeats} times; the others are *unknown* ({card.unknown.method}). With one label there
  is no accuracy, and a probability of 1 says nothing.
- {_other_things(card)}
"""


def _other_things(card: ModelCard) -> str:
    label, refused = card.labels[0], card.unknown.other_refused
    if refused is None:
        return f"How many images of other things it takes for {label} was not measured."
    return (
        f"Of the {card.data.other} images of no label that it was shown, {refused:.1%} are *unknown*, out of fold;"
        f"\n  how many images of things of another kind it takes for {label} was not measured."
    )


def _forecast(card: ModelCard) -> str:
    return f" {card.forecast.sentence}" if card.forecast else ""


def _strangers(card: ModelCard) -> str:
    """What is refused rightly, continuing a sentence."""
    left_out, other = card.unknown.left_out_label_refused, card.unknown.other_refused
    parts = [] if left_out is None else [f", {left_out:.1%} of them when their own label is left out"]
    if other is not None:
        parts.append(f",\n  and {other:.1%} of the {card.data.other} images of no label that it was shown, out of fold")
    return "".join(parts)


def _training(card: ModelCard) -> str:
    if card.finetune is None:
        return "frozen"
    return f"fine-tuned from {card.finetune.layer} on" if card.finetune.layer else "fine-tuned end to end"


def _use(card: ModelCard, repo: str) -> str:
    retrain = (
        "The embeddings of its training images lie beside it, so that it can be retrained."
        if card.data.embeddings_kept
        else "The embeddings of its training images were left out, so it answers but cannot be retrained."
    )
    timm = f"""
In timm, which gives logits before the temperature and knows no *unknown*:

```python
import timm

network = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
```
"""
    return f"""
## Use it

    handful models pull {repo}
    handful classify FOLDER --out predictions.csv --model {card.name}

{retrain}
{timm if card.head.kind == "linear" else ""}"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
