"""`handful.train` and `handful.load` give a `Model`; each of its calls does what the command of the same name does.

torch, which takes seconds, is loaded with the first call that computes something.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast, overload

from handful.notebook import Html, escaped, learned_rows, strong, table
from handful.options import RetrainOptions, TrainOptions, checked
from handful.photo import NamedPhoto, Photo, is_one, named_photos
from handful.prediction import Evaluation, Explained, Prediction, Predictions
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store
from handful.service.artifact.verdict import Verdict
from handful.service.lean.engines import is_lean
from handful.service.terminal.progress import working

if TYPE_CHECKING:
    from handful.service.artifact.folder import Artifact
    from handful.service.classifier import Classifier
    from handful.service.export.precision import Precision
    from handful.service.lean.classifier import OnnxClassifier
    from handful.service.lean.kept_classifier import KeptClassifier
    from handful.training.photos.sources import Problem

# As the command line does, before torch is imported: else idle threads of the network keep cores from the decoders.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

AnyPath: TypeAlias = str | os.PathLike[str]


def train(source: AnyPath, **options: Unpack[TrainOptions]) -> Model:
    """Learns labelled photos, measures the result and keeps it in the store, as `handful train` does.

    `source` holds one folder of photos per label. `Model.result` is what `handful train --json` prints.

    Raises `UsageError` for a source or an option that is not allowed, `DataError` where nothing can be learned from the
    photos, and `BackboneError` or `HubError` where the pretrained network cannot be had. Nothing is kept then.
    """
    from handful.training.settings import TrainSettings

    settings, folder = checked(TrainSettings, options), Path(source).expanduser()
    from handful.training.terminal.stages import train_stages
    from handful.training.train import train_folder

    with working(f"Learning from the photos in {folder}.", train_stages(settings)):
        result, problems = train_folder(folder, settings)
    return Model(Path(result["path"]), result, problems)


def load(model: AnyPath) -> Model:
    """A model by its name in the store (`"bags"`, `"bags:3"`), its folder, or its repository on the Hub (`"ORG/REPO"`).

    Also a file that `Model.export` wrote (`"bags.onnx"`), which answers without torch and learns nothing.

    A name in the store comes before a folder of that name. Without `:VERSION` it is the champion, the version in use. A
    model of the Hub stays in the Hub's cache; `handful models pull` puts it into the store.

    Raises `ModelNotFound`, or another `ArtifactError`, `HubError` or `UsageError`.
    """
    folder = Path(model).expanduser()
    store = Store()
    if isinstance(model, str) and model.partition(":")[0] in store.names():
        return Model(store.resolve(model))
    if folder.is_dir() or (folder.suffix.lower() == ".onnx" and folder.is_file()):
        return Model(folder)
    if not isinstance(model, str) or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"{model} is not there; NAME[:VERSION], the folder of a model or ORG/REPO is expected.")
    if "/" not in model:
        return Model(store.resolve(model))  # raises
    from handful.service.models.publishing import download_version

    return Model(download_version(model).path)


class Model:
    """One version of a model. It never changes: what `retrain` returns is another one.

    `result` and `problems` are those of the training that made it, and empty for a model that was loaded.
    """

    def __init__(self, path: Path, result: dict[str, Any] | None = None, problems: Sequence[Problem] = ()) -> None:
        """Reads and verifies an artifact's folder or an exported file; raises an `ArtifactError`."""
        self._path = path
        self.card: ModelCard = self._exported.card if self._exported else self._artifact.card
        self.result: dict[str, Any] = result or {}
        self.problems = tuple(problems)
        self._prepared_for = 0  # photos

    @property
    def path(self) -> Path:
        """The folder with its files, which any user of timm can open; or the exported file."""
        return self._path

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def version(self) -> str:
        return self.card.version

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    @property
    def accuracy(self) -> float:
        """Cross-validated: the share of training photos answered right by models that had not learned them."""
        return self.card.cross_validation.accuracy

    @property
    def verdict(self) -> Verdict:
        """How far it can be relied on, in words: `level`, `title` and `sentence`."""
        return self.card.verdict

    @cached_property
    def _exported(self) -> OnnxClassifier | None:
        """None where torch computes the model: where it is installed and the model is no file."""
        if not is_lean(self._path):
            return None
        from handful.service.lean.classifier import OnnxClassifier

        return OnnxClassifier.load(self._path)

    @cached_property
    def _artifact(self) -> Artifact:
        if self._path.is_file():
            raise UsageError(f"{self._path} is an exported file; this call needs the model {self.card.model} itself.")
        return open_artifact(self._path)

    @cached_property
    def classifier(self) -> Classifier:
        """The network in memory, made when it is first needed."""
        if self._exported:
            return cast("Classifier", self._exported)  # it has the calls that answer photos
        from handful.service.classifier import Classifier

        return Classifier.from_artifact(self._artifact)

    @overload
    def __call__(self, photo: Photo, *, tta: bool = False) -> Prediction: ...  # type: ignore[overload-overlap]  # str

    @overload
    def __call__(self, photo: Iterable[Photo], *, tta: bool = False) -> Predictions: ...

    def __call__(self, photo: Photo | Iterable[Photo], *, tta: bool = False) -> Prediction | Predictions:
        """The answer for a photo (a path, bytes, a PIL image, a numpy array), or the answers for a list of them.

        An array holds uint8: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB and alpha. `tta` averages over ten views of
        each photo. Raises an `ImageError` for the first photo that cannot be read (`classify` goes on), and
        `UsageError` for what is no photo.
        """
        if is_one(photo):
            return self._answers([NamedPhoto.of(photo)], tta=tta)[0]  # type: ignore[arg-type]  # `is_one` has told
        if not isinstance(photo, Iterable):
            NamedPhoto.of(photo)  # raises
        return self._answers(list(named_photos(photo)), tta=tta)  # type: ignore[arg-type]  # it is iterable

    def _answers(self, photos: Sequence[NamedPhoto], *, tta: bool) -> Predictions:
        answers = self._prepared(len(photos), tta=tta).classify([photo.source for photo in photos], tta=tta)
        predictions = Predictions()
        for photo, (source, answer) in zip(photos, answers, strict=True):
            if isinstance(answer, ImageError):
                raise type(answer)(f"{photo.name}: {answer}") from answer
            predictions.append(Prediction(photo.name, self.card.model, self.labels, answer, source))
        return predictions

    def _prepared(self, photos: int, *, tta: bool) -> Classifier | KeptClassifier:
        """Chooses how the network is computed, as the command does; for more photos than before, again."""
        if not tta and self._kept:
            return self._kept
        if not tta and photos > self._prepared_for:
            self.classifier.choose_fastest_for(photos)
            self._prepared_for = photos
        return self.classifier

    @cached_property
    def _kept(self) -> KeptClassifier | None:
        """Where OpenVINO is known to be the fastest; then neither torch nor the network on it is needed."""
        from handful.service.lean.kept_classifier import KeptClassifier

        return None if self._exported else KeptClassifier.find(self._path)

    def classify(self, source: AnyPath | Iterable[AnyPath], *, tta: bool = False) -> Predictions:
        """The answers to a photo, a folder of photos, addresses, or several of these, as `handful classify` gives them.

        A photo that cannot be read has an `error`. `Predictions.rows` are the rows that the command writes. Raises
        `UsageError` for a path that is not there.
        """
        from handful.service.artifact.remote import is_url
        from handful.service.classify.given import GivenPhotos

        paths = [source] if isinstance(source, str | os.PathLike) else list(source)
        photos = GivenPhotos(
            [path if isinstance(path, str) and is_url(path) else Path(path).expanduser() for path in paths]
        )
        classifier = self._prepared(sum(1 for _ in photos), tta=tta)
        return Predictions(
            Prediction(photos.name(path), self.card.model, self.labels, answer, path)
            for path, answer in classifier.classify(photos, tta=tta)
        )

    def evaluate(self, source: AnyPath, *, report: AnyPath | None = None, tta: bool = False) -> Evaluation:
        """How it does on labelled photos that it has not seen, as `handful evaluate` measures it.

        `source` holds one folder of photos per label; the report goes into the folder `report`, by default below
        `HANDFUL_HOME`. Raises `UsageError`, or `DataError` where no label of the photos is known.
        """
        from handful.training.evaluate import evaluate_folder
        from handful.training.terminal.stages import evaluate_stages

        folder, where = Path(source).expanduser(), None if report is None else Path(report).expanduser()
        with working(f"Measuring {self.card.model} on the photos in {folder}.", evaluate_stages()):
            result, problems = evaluate_folder(folder, self.path, where, tta=tta)
        return Evaluation(result, problems)

    def retrain(self, source: AnyPath | None = None, **options: Unpack[RetrainOptions]) -> Model:
        """Learns more photos on top of what it knows, as `handful retrain` does; returns the new version.

        `source` holds one folder of photos per label; the old photos are not needed. Without it, `drop` or `rename`
        changes the labels. `result["promoted"]` of the new version says whether it became the champion, the version in
        use, and `result["reason"]` why. Where there was nothing new, it is this version.

        Raises `UsageError` where this is not the champion of its name in the store, and the errors of `train`.
        """
        from handful.training.settings import RetrainSettings

        settings = checked(RetrainSettings, {**options, "model": self._in_store()})
        from handful.training.retraining.command import retrain_folder
        from handful.training.terminal.stages import retrain_stages

        folder = None if source is None else Path(source).expanduser()
        photos = "other labels" if folder is None else f"the photos in {folder}"
        with working(f"Teaching {self.card.model} {photos}.", retrain_stages(settings)):
            result, problems = retrain_folder(folder, settings)
        return Model(Path(result["path"]), result, problems)

    def _in_store(self) -> str:
        """NAME:VERSION; `UsageError` where it lies elsewhere."""
        store = Store()
        if self.path.resolve() != (store.models / self.name / self.version).resolve():
            raise UsageError(
                f"{self.card.model} lies in {self.path}, outside the store {store.models}; only a model of the store"
                " can learn more (`handful models pull` gets one from the Hub)."
            )
        return self.card.model

    def explain(self, photo: Photo, *, shift: bool = False, short: bool = False) -> Explained:
        """Draws which parts of a photo decided its answer, as `handful explain` does.

        `shift` also measures how stable the answer is; `short` draws the top row alone. Raises an `ImageError`, or
        `UsageError` for what is no photo.
        """
        from handful.service.explain.explanation import explain_photo, explanation_result
        from handful.service.explain.picture import draw_explanation

        self._artifact  # noqa: B018 - raises where there is only an exported file
        explanation = explain_photo(self.classifier, NamedPhoto.of(photo).source, shift=shift)
        return Explained(draw_explanation(explanation, short=short), explanation_result(explanation))

    def export(self, path: AnyPath, *, precision: Precision = "fp32", photos: AnyPath | None = None) -> Path:
        """Writes the whole answer as one ONNX file, as `handful export` does; `load` opens it.

        Raises `UsageError` where its answers to `photos` (by default small pictures of the training photos) differ, or
        where packages are missing.
        """
        from handful.service.classify.given import GivenPhotos
        from handful.service.export.onnx_export import export_onnx

        given = None if photos is None else GivenPhotos([Path(photos).expanduser()])
        named = None if given is None else [(given.name(each), each) for each in given]
        out = Path(path).expanduser()
        export_onnx(self._artifact, out, precision, named)
        return out

    def __repr__(self) -> str:
        return f"Model({self.card.model!r}, labels={list(self.labels)}, accuracy={self.accuracy:.3f})"

    def _repr_html_(self) -> str:
        low, high = self.card.cross_validation.accuracy_ci95
        rows = [
            ("accuracy", f"{self.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, cross-validated)"),
            ("verdict", Html(f"{strong(self.verdict.title)}: {escaped(self.verdict.sentence)}")),
            ("backbone", self.card.backbone.ref),
            ("folder", str(self.path)),
            *([("retrained", str(self.result["reason"]))] if "reason" in self.result else []),
            *([("problems", f"{len(self.problems)}: `Model.problems`")] if self.problems else []),
            *learned_rows(self.card.data.per_label, self.labels, None if self._exported else self._artifact),
        ]
        return table((), rows, self.card.model)
