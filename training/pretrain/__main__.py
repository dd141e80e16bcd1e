"""`python -m training.pretrain WORK --pictures FILE ... [--teacher FOLDER]`: run it, or go on with it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
from handful.service.artifact.errors import HandfulError, UsageError
from handful.training.backbone import load_backbone
from handful.training.pretrain.loop import top1, train
from handful.training.pretrain.pictures import VALIDATION, read_pictures
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.sources import Sources
from handful.training.pretrain.student import Student, export
from handful.training.pretrain.targets import principal
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
    parser.add_argument("--teacher", type=Path, help="a network in the Hub's folder format; without: labels only")
    parser.add_argument("--start", type=Path, help="a backbone to go on from, as an earlier run wrote it")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="any field of Recipe")
    return parser.parse_args()


def _recipe(a: argparse.Namespace) -> Recipe:
    try:
        given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in a.set)}
        files = len(a.pictures)
        return Recipe(views=tuple(a.views or [1] * files), min_scale=tuple(a.min_scale or [0.3] * files), **given)
    except (ValueError, ValidationError) as e:
        raise UsageError(f"--set takes fields of the recipe as NAME=JSON; got {a.set} ({e}).") from e


def pretrain(work: Path, paths: list[Path], teacher: Path | None, recipe: Recipe, start: Path | None = None) -> None:
    """Everything from pictures to `work/backbone`; what is already there is not done again."""
    _raise_unless_meant(paths, teacher, recipe)
    _claim(work, recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    files = Sources(paths, teacher, recipe, work, device).views()
    basis = principal([f.of_teacher for f in files], recipe.target_dims) if teacher else None
    torch.manual_seed(recipe.seed)
    student = Student(recipe, max(int(f.labels.max()) for f in files) + 1, recipe.target_dims if teacher else 1)
    if start:
        student.backbone.load_state_dict(load_backbone(str(start)).network.state_dict())
    averaged = train(student, Batches(files, recipe, basis), recipe, work, device)
    export(averaged, recipe, work / "backbone")
    for path in dict.fromkeys(paths):
        if validation := read_pictures(path, VALIDATION):
            right = top1(averaged, validation, recipe, device)
            log.info("%s: top-1 %.4f of %d validation pictures", path.stem, right, len(validation))


def _raise_unless_meant(paths: list[Path], teacher: Path | None, recipe: Recipe) -> None:
    if not len(paths) == len(recipe.views) == len(recipe.min_scale):
        raise UsageError(
            f"views and min_scale take one number per file of pictures; got {recipe.views} and {recipe.min_scale} "
            f"for {len(paths)}."
        )
    if (recipe.composed or recipe.related or recipe.alike) and teacher is None:
        raise UsageError(
            "what is pasted together has no label, and what is alike nobody told: composed, related and alike "
            "views need --teacher"
        )


def _claim(work: Path, recipe: Recipe) -> None:
    """A folder of work belongs to one recipe; only the number of epochs and the size of use may change later."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "recipe.json"
    if path.exists():
        before = Recipe.model_validate_json(path.read_text())
        if before.model_copy(update={name: getattr(recipe, name) for name in MAY_CHANGE}) != recipe:
            raise UsageError(f"{work} was begun with another recipe ({path}); another folder is needed for this one.")
    path.write_text(recipe.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
