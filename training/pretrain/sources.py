"""All views that a run trains on: crops of every file, copy-paste views, and more crops of mined pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from handful.service.artifact.errors import UsageError
from handful.training.pretrain.copy_paste import write_copy_paste
from handful.training.pretrain.mining import mine_by_label, mine_by_picture
from handful.training.pretrain.pictures import Pictures, read_pictures
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.teacher import principal_components, project_targets, write_targets
from handful.training.pretrain.views import Views, write_views

MINED_SCALE = 0.5  # smallest crop of a mined picture: large enough to keep the thing in it


class PretrainSources:
    """Draws the views and computes the teacher's targets, both kept in the work folder and made only once."""

    def __init__(
        self, paths: list[Path], teacher: Path | None, recipe: PretrainRecipe, work: Path, device: torch.device
    ) -> None:
        self.paths, self.teacher, self.recipe, self.work, self.device = paths, teacher, recipe, work, device
        self.pictures = [_pictures(path) for path in paths]
        if recipe.mined_by_label or recipe.mined_by_picture:
            self._check_mining()

    def views(self) -> list[Views]:
        """Crops of each file, then copy-paste views of the first file's pictures, then crops of mined pictures."""
        each = zip(self.paths, self.pictures, self.recipe.views, self.recipe.min_scale, strict=True)
        files = [
            self._crops(f"{path.stem}.{count}x{scale}", pictures, np.arange(len(pictures)), count, scale)
            for path, pictures, count, scale in each
        ]
        copy_paste = [self._copy_paste()] if self.recipe.copy_paste else []
        mined = self._mined(files) if self.recipe.mined_by_label or self.recipe.mined_by_picture else []
        return files + copy_paste + mined

    def _check_mining(self) -> None:
        """Raises `UsageError` early: computing the teacher's targets takes long."""
        sources, wanted = set(self.pictures[0].sources.tolist()), self.recipe.mining_sources
        if not wanted or not sources.issuperset(wanted):
            known = ", ".join(sorted(sources))
            raise UsageError(f"mining_sources takes sources of {self.paths[0]} ({known}); got {wanted}.")
        if self.recipe.mined_by_label and (self.pictures[-1].labels < 0).any():
            raise UsageError(f"mined_by_label needs a label for every picture; some in {self.paths[-1]} have none.")

    def _crops(self, name: str, pictures: Pictures, numbers: np.ndarray, count: int, scale: float) -> Views:
        pixels = write_views(pictures, count, scale, self.recipe, self.work / f"{name}.views.npy")
        return self._with_targets(name, pixels, np.repeat(pictures.labels, count), np.repeat(numbers, count))

    def _copy_paste(self) -> Views:
        pictures, count = self.pictures[0], self.recipe.copy_paste
        name = f"{self.paths[0].stem}.copy-paste{count}"
        pixels = write_copy_paste(pictures, count, self.recipe, self.work / f"{name}.views.npy")
        return self._with_targets(name, pixels, np.full(len(pixels), -1), np.repeat(np.arange(len(pictures)), count))

    def _mined(self, files: list[Views]) -> list[Views]:
        """Crops of the pictures that resemble the wanted sources, by label and by picture."""
        basis = principal_components([f.of_teacher for f in files], self.recipe.target_dims)
        targets = [project_targets(f.of_teacher, basis) for f in files]
        source_of_view = self.pictures[0].sources[files[0].pictures]  # of the first file's views
        by_label = [self._mined_by_label(targets, source_of_view)] if self.recipe.mined_by_label else []
        return by_label + (self._mined_by_picture(targets, source_of_view) if self.recipe.mined_by_picture else [])

    def _mined_by_label(self, targets: list[np.ndarray], source_of_view: np.ndarray) -> Views:
        """Compares the first view of each of the last file's pictures with all views of the wanted sources."""
        pictures, count = self.pictures[-1], self.recipe.mined_by_label
        wanted = targets[0][np.isin(source_of_view, self.recipe.mining_sources)]
        numbers = mine_by_label(targets[-1][:: self.recipe.views[-1]], pictures.labels, wanted)
        name = f"{self.paths[-1].stem}.mined-by-label{count}"
        return self._crops(name, pictures.only(numbers), numbers, count, MINED_SCALE)

    def _mined_by_picture(self, targets: list[np.ndarray], source_of_view: np.ndarray) -> list[Views]:
        """Takes, from the first and the last file, the pictures closest to each source's mean, without its own."""
        views = []
        for at in sorted({0, len(self.paths) - 1}):
            pictures, count = self.pictures[at], self.recipe.mined_by_picture
            embeddings = targets[at].reshape(len(pictures), self.recipe.views[at], -1).mean(1)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            chosen = []
            for source in self.recipe.mining_sources:
                others = np.flatnonzero(pictures.sources != source) if at == 0 else np.arange(len(pictures))
                chosen.append(others[mine_by_picture(embeddings[others], targets[0][source_of_view == source])])
            numbers = np.unique(np.concatenate(chosen))
            name = f"{self.paths[at].stem}.mined-by-picture{count}"
            views.append(self._crops(name, pictures.only(numbers), numbers, count, MINED_SCALE))
        return views

    def _with_targets(self, name: str, pixels: np.ndarray, labels: np.ndarray, numbers: np.ndarray) -> Views:
        path = self.work / f"{name}.targets.npy"
        targets = write_targets(pixels, self.teacher, path, self.device) if self.teacher else None
        return Views(pixels, targets, labels, numbers)


def _pictures(path: Path) -> Pictures:
    pictures = read_pictures(path)
    if pictures is None:
        raise UsageError(f"{path} has no array named bytes; a pack of encoded pictures is expected.")
    return pictures
