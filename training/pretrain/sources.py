"""Everything a run learns from: crops of each file, what is composed of them, more of what matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from handful.service.artifact.errors import UsageError
from handful.training.pretrain.copy_paste import write_composed
from handful.training.pretrain.mining import alike, related
from handful.training.pretrain.pictures import Pictures, read_pictures
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.targets import principal, reduced
from handful.training.pretrain.teacher import write_targets
from handful.training.pretrain.views import Views, write_views

RELATED_SCALE = 0.5  # smallest crop of a related picture or one alike: the thing in it should stay in it


class Sources:
    """Draws views, asks the teacher, and keeps both in the folder of work; what is there is not done again."""

    def __init__(
        self, paths: list[Path], teacher: Path | None, recipe: Recipe, work: Path, device: torch.device
    ) -> None:
        self.paths, self.teacher, self.recipe, self.work, self.device = paths, teacher, recipe, work, device
        self.pictures = [_pictures(path) for path in paths]
        if recipe.related or recipe.alike:
            self._raise_unless_related()

    def views(self) -> list[Views]:
        """Of each file, then composed of the first one's pictures, then more of what is related to them or alike."""
        each = zip(self.paths, self.pictures, self.recipe.views, self.recipe.min_scale, strict=True)
        files = [
            self._crops(f"{path.stem}.{count}x{scale}", pictures, np.arange(len(pictures)), count, scale)
            for path, pictures, count, scale in each
        ]
        composed = [self._composed()] if self.recipe.composed else []
        return files + composed + (self._more(files) if self.recipe.related or self.recipe.alike else [])

    def _raise_unless_related(self) -> None:
        """Before the teacher is asked, which takes long."""
        sources = set(self.pictures[0].sources.tolist())
        if not self.recipe.related_to or not sources.issuperset(self.recipe.related_to):
            known = ", ".join(sorted(sources))
            raise UsageError(f"related_to names sources of {self.paths[0]} ({known}); got {self.recipe.related_to}.")
        if self.recipe.related and (self.pictures[-1].labels < 0).any():
            raise UsageError(f"related views are found by label, and pictures of {self.paths[-1]} have none.")

    def _crops(self, name: str, pictures: Pictures, numbers: np.ndarray, count: int, scale: float) -> Views:
        pixels = write_views(pictures, count, scale, self.recipe, self.work / f"{name}.views.npy")
        return self._seen(name, pixels, np.repeat(pictures.labels, count), np.repeat(numbers, count))

    def _composed(self) -> Views:
        pictures, count = self.pictures[0], self.recipe.composed
        name = f"{self.paths[0].stem}.composed{count}"
        pixels = write_composed(pictures, count, self.recipe, self.work / f"{name}.views.npy")
        return self._seen(name, pixels, np.full(len(pixels), -1), np.repeat(np.arange(len(pictures)), count))

    def _more(self, files: list[Views]) -> list[Views]:
        """Of what is related to the things that are wanted most, and of what is alike."""
        basis = principal([f.of_teacher for f in files], self.recipe.target_dims)
        of_file = [reduced(f.of_teacher, basis) for f in files]
        shown = self.pictures[0].sources[files[0].pictures]  # the source of each of the first file's views
        related_ones = [self._related(of_file, shown)] if self.recipe.related else []
        return related_ones + (self._alike(of_file, shown) if self.recipe.alike else [])

    def _related(self, of_file: list[np.ndarray], shown: np.ndarray) -> Views:
        """The first view of each of the last file's pictures is compared with all views of the things."""
        pictures, count = self.pictures[-1], self.recipe.related
        things = of_file[0][np.isin(shown, self.recipe.related_to)]
        numbers = related(of_file[-1][:: self.recipe.views[-1]], pictures.labels, things)
        name = f"{self.paths[-1].stem}.related{count}"
        return self._crops(name, pictures.only(numbers), numbers, count, RELATED_SCALE)

    def _alike(self, of_file: list[np.ndarray], shown: np.ndarray) -> list[Views]:
        """Of the first file and the last, the pictures most like each source's mean, that source's own left out."""
        views = []
        for at in sorted({0, len(self.paths) - 1}):
            pictures = self.pictures[at]
            of = of_file[at].reshape(len(pictures), self.recipe.views[at], -1).mean(1)
            of /= np.linalg.norm(of, axis=1, keepdims=True)
            found = []
            for source in self.recipe.related_to:
                others = np.flatnonzero(pictures.sources != source) if at == 0 else np.arange(len(pictures))
                found.append(others[alike(of[others], of_file[0][shown == source])])
            numbers = np.unique(np.concatenate(found))
            name = f"{self.paths[at].stem}.alike{self.recipe.alike}"
            views.append(self._crops(name, pictures.only(numbers), numbers, self.recipe.alike, RELATED_SCALE))
        return views

    def _seen(self, name: str, pixels: np.ndarray, labels: np.ndarray, numbers: np.ndarray) -> Views:
        path = self.work / f"{name}.targets.npy"
        targets = write_targets(pixels, self.teacher, path, self.device) if self.teacher else None
        return Views(pixels, targets, labels, numbers)


def _pictures(path: Path) -> Pictures:
    pictures = read_pictures(path)
    if pictures is None:
        raise UsageError(f"{path} has no array named bytes; a pack of encoded pictures is expected.")
    return pictures
