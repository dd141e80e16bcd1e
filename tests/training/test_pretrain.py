"""The recipe of the built-in backbone, on a few pictures: it learns, resumes, and ends in a folder timm opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from service.artifact.errors import UsageError
from training.backbone import load_backbone
from training.pretrain.__main__ import pretrain
from training.pretrain.pictures import VALIDATION, read_pictures
from training.pretrain.recipe import Recipe
from training.pretrain.views import crop_box

TINY = Recipe(
    channels=(8, 8, 16, 16), layers=(1, 1, 1, 1), stem_width=8, view_pixels=40, views=(2,), target_dims=8,
    sizes=(32,), epochs=2, batch=8, warmup_steps=2, use_pixels=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The photos as one file, with four of them again to validate on."""
    arrays: dict[str, Any] = {}
    files = sorted(photos.rglob("*.*"))
    for prefix, chosen in (("", files), (VALIDATION, files[::6])):
        data = [np.frombuffer(path.read_bytes(), np.uint8) for path in chosen]
        arrays[f"{prefix}bytes"] = np.concatenate(data)
        arrays[f"{prefix}offsets"] = np.cumsum([0, *map(len, data)])
        arrays[f"{prefix}labels"] = np.array([path.parent.name == "red" for path in chosen], dtype=int)
    path = tmp_path_factory.mktemp("pack") / "pictures.npz"
    np.savez(path, **arrays)
    return path


def weights(work: Path) -> dict[str, torch.Tensor]:
    return load_file(work / "backbone/model.safetensors")


def test_it_ends_in_a_backbone_that_training_loads(
    tmp_path: Path, pack: Path, backbone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        pretrain(tmp_path, [pack], backbone, TINY)
    loaded = load_backbone(str(tmp_path / "backbone"))
    assert loaded.config["num_features"] == 16
    assert loaded.config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert all(t.dtype == torch.float16 for t in weights(tmp_path).values() if t.is_floating_point())
    assert "of 4 validation pictures" in caplog.text


def test_taken_up_after_a_stop_it_gives_the_same_weights(tmp_path: Path, pack: Path, backbone: Path) -> None:
    """In the warm-up the schedule does not know how many epochs will follow, so one and one are two."""
    recipe = TINY.model_copy(update={"warmup_steps": 10_000, "learning_rate": 10.0})
    pretrain(tmp_path / "whole", [pack], backbone, recipe)
    pretrain(tmp_path / "stopped", [pack], backbone, recipe.model_copy(update={"epochs": 1}))
    after_one = weights(tmp_path / "stopped")
    pretrain(tmp_path / "stopped", [pack], backbone, recipe)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "stopped")[name]), name
    assert any(not torch.equal(tensor, weights(tmp_path / "whole")[name]) for name, tensor in after_one.items())


def test_without_a_teacher_it_learns_the_labels_of_a_folder(tmp_path: Path, photos: Path) -> None:
    pretrain(tmp_path, [photos], None, TINY)
    assert weights(tmp_path)


def test_it_goes_on_from_an_earlier_backbone(tmp_path: Path, pack: Path, backbone: Path) -> None:
    """With a learning rate of nought the start comes out again."""
    pretrain(tmp_path / "first", [pack], backbone, TINY)
    still = TINY.model_copy(update={"learning_rate": 0.0, "views": (2, 1), "min_scale": (0.3, 0.9)})
    pretrain(tmp_path / "second", [pack, pack], backbone, still, tmp_path / "first/backbone")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first if name.endswith("weight"))


def test_a_folder_of_work_belongs_to_one_recipe(tmp_path: Path, pack: Path, backbone: Path) -> None:
    pretrain(tmp_path, [pack], backbone, TINY)
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(tmp_path, [pack], backbone, TINY.model_copy(update={"min_scale": (0.9,)}))


def test_unreadable_files_of_a_folder_are_left_out(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/b").mkdir()
    (tmp_path / "data/a/good.jpg").write_bytes((photos / "red/00.jpg").read_bytes())
    (tmp_path / "data/b/bad.jpg").write_bytes(b"no image")
    pictures = read_pictures(tmp_path / "data")
    assert pictures is not None
    assert len(pictures) == 1
    assert pictures[0].mode == "RGB"


def test_crops_lie_inside_the_picture_and_keep_the_share_asked_for() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = crop_box(100, 60, generator, 0.3)
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 60
        assert (right - left) * (bottom - top) >= 0.3 * 6000 - 1e-6
