"""`python -m handful.training.pretrain WORK --pictures FILE ... [--teacher FOLDER]`: start a run or resume it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
from handful.service.artifact.errors import HandfulError, UsageError
from handful.training.backbone import load_backbone
from handful.training.pretrain.loop import top1, train_student
from handful.training.pretrain.pictures import VALIDATION, read_pictures
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.sources import PretrainSources
from handful.training.pretrain.student import Student, export_student
from handful.training.pretrain.teacher import principal_components
from handful.training.pretrain.views import Batches
from pydantic import ValidationError

MAY_CHANGE = ("epochs", "use_pixels")
log = logging.getLogger(__name__)


def main() -> None:
    a = _arguments()
    a.work.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(a.work / "log.txt")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    try:
        pretrain(a.work, a.pictures, a.teacher, _recipe(a), a.start)
    except HandfulError as e:
        sys.exit(f"pretrain: {e}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretrain a small ResNet by imitating a large one.")
    parser.add_argument("work", type=Path, help="folder for views, targets, checkpoint, log and result")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="labelled folders or packs (.npz)")
    parser.add_argument("--views", type=int, nargs="+", help="crops per picture, one number per file")
    parser.add_argument("--min-scale", type=float, nargs="+", help="smallest crop, one share of the area per file")
    parser.add_argument("--teacher", type=Path, help="a network in the Hub's folder format; without it: labels only")
    parser.add_argument("--start", type=Path, help="a backbone to start from, as an earlier run wrote it")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="any field of the recipe")
    return parser.parse_args()


def _recipe(a: argparse.Namespace) -> PretrainRecipe:
    try:
        given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in a.set)}
        files = len(a.pictures)
        return PretrainRecipe(
            views=tuple(a.views or [1] * files), min_scale=tuple(a.min_scale or [0.3] * files), **given
        )
    except (ValueError, ValidationError) as e:
        raise UsageError(f"--set takes fields of the recipe as NAME=JSON; got {a.set} ({e}).") from e


def pretrain(
    work: Path, paths: list[Path], teacher: Path | None, recipe: PretrainRecipe, start: Path | None = None
) -> None:
    """Runs all steps, from pictures to `work/backbone`; steps whose files exist are skipped.

    Raises `UsageError` for settings that do not fit together and for a folder of another recipe.
    """
    _check_recipe(paths, teacher, recipe)
    _check_work(work, recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    files = PretrainSources(paths, teacher, recipe, work, device).views()
    basis = principal_components([f.of_teacher for f in files], recipe.target_dims) if teacher else None
    torch.manual_seed(recipe.seed)
    student = Student(recipe, max(int(f.labels.max()) for f in files) + 1, recipe.target_dims if teacher else 1)
    if start:
        student.backbone.load_state_dict(load_backbone(str(start)).network.state_dict())
    averaged = train_student(student, Batches(files, recipe, basis), recipe, work, device)
    export_student(averaged, recipe, work / "backbone")
    for path in dict.fromkeys(paths):
        if validation := read_pictures(path, VALIDATION):
            accuracy = top1(averaged, validation, recipe, device)
            log.info("%s: top-1 %.4f of %d validation pictures", path.stem, accuracy, len(validation))


def _check_recipe(paths: list[Path], teacher: Path | None, recipe: PretrainRecipe) -> None:
    if not len(paths) == len(recipe.views) == len(recipe.min_scale):
        raise UsageError(
            f"views and min_scale take one number per file of pictures; got {recipe.views} and {recipe.min_scale} "
            f"for {len(paths)} files."
        )
    if (recipe.copy_paste or recipe.mined_by_label or recipe.mined_by_picture) and teacher is None:
        raise UsageError(
            "copy_paste, mined_by_label and mined_by_picture need --teacher: pasted pictures have no label, and the "
            "teacher's embeddings tell which pictures are similar."
        )


def _check_work(work: Path, recipe: PretrainRecipe) -> None:
    """A work folder belongs to one recipe; only the fields in `MAY_CHANGE` may differ when a run is resumed."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "recipe.json"
    if path.exists():
        try:
            before = PretrainRecipe.model_validate_json(path.read_text())
        except ValidationError as e:
            raise UsageError(f"{path} was written by another version; use another folder.") from e
        if before.model_copy(update={name: getattr(recipe, name) for name in MAY_CHANGE}) != recipe:
            raise UsageError(f"{work} was started with another recipe ({path}); use another folder for this one.")
    path.write_text(recipe.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
