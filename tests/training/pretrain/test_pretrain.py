"""The recipe of the built-in backbone, on a few pictures: it learns, resumes, and ends in a folder timm opens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handful.service.artifact.errors import UsageError
from handful.training.backbone import load_backbone
from handful.training.pretrain.__main__ import pretrain
from handful.training.pretrain.copy_paste import cut_out, write_composed
from handful.training.pretrain.data_parallel import gather, learn, part_generator, set_learning_rate, shares, sharing
from handful.training.pretrain.mining import alike, related
from handful.training.pretrain.pictures import VALIDATION, read_pictures
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.student import Student
from handful.training.pretrain.views import Batches, Views, augmented, crop_box
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

TINY = Recipe(
    architecture="resnet18", channels=(8, 8, 16, 16), layers=(1, 1, 1, 1), stem_width=8, view_pixels=40, views=(2,),
    target_dims=8, sizes=(32,), epochs=2, batch=8, warmup_steps=2, use_pixels=32,
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


@pytest.mark.parametrize("parts", [1, 2])
def test_taken_up_after_a_stop_it_gives_the_same_weights(
    tmp_path: Path, pack: Path, backbone: Path, parts: int
) -> None:
    """In the warm-up the schedule does not know how many epochs will follow, so one and one are two."""
    recipe = TINY.model_copy(update={"warmup_steps": 10_000, "learning_rate": 10.0, "parts": parts})
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


def test_a_batch_in_parts_has_the_gradient_of_all_of_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)
    recipe = TINY.model_copy(update={"parts": 2, "label_weight": 1.0})
    data = Batches([Views(pixels, None, np.arange(12) % 2, np.arange(12))], recipe, None)
    torch.manual_seed(0)
    student = Student(recipe, 2, 1)
    alone = copy.deepcopy(student)
    workers, halves = [student, sharing(student)], np.split(data.train[:10], 2)
    assert workers[1].projection.weight.data_ptr() == student.projection.weight.data_ptr()
    losses = []
    for learners in (workers, [alone, alone]):
        generators = [part_generator(recipe, 0, part) for part in range(2)]
        losses.append(
            [
                learn(data, recipe, 32, torch.device("cpu"), *each)
                for each in zip(learners, halves, generators, strict=True)
            ]
        )
    gather(student, workers[1:])
    assert losses[0] == losses[1]
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    for gathered, added in zip(student.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(gathered.grad, added.grad)
    assert workers[1].classifier.weight.grad is None


def test_a_step_in_shares_is_the_step() -> None:
    learned = []
    for parts in (1, 3):
        torch.manual_seed(0)
        student = Student(TINY, 2, 8)
        optimizer = create_optimizer_v2(student, opt="nmuon", lr=1.0, weight_decay=0.1)
        steppers = shares(optimizer, parts)
        for step in range(3):
            for parameter in student.parameters():
                parameter.grad = torch.randn(parameter.shape)
            set_learning_rate(steppers, 0.1 * (step + 1))
            for stepper in steppers:
                stepper.step()
        learned.append((student.state_dict(), optimizer.state_dict()["state"]))
    (whole, state), (parted, kept) = learned
    assert all(torch.equal(tensor, parted[name]) for name, tensor in whole.items())
    assert state.keys() == kept.keys()  # so a checkpoint holds all of it


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


def picture(ground: tuple[int, int, int], thing: tuple[int, int, int] | None = None) -> Image.Image:
    image = Image.new("RGB", (60, 40), ground)
    if thing:
        ImageDraw.Draw(image).rectangle((20, 10, 39, 29), thing)
    return image


def test_an_object_on_white_is_cut_out_and_nothing_else_is() -> None:
    found = cut_out(picture((255, 255, 255), (200, 0, 0)))
    assert found is not None
    assert found.size == pytest.approx((20, 20), abs=2)
    assert found.getpixel((10, 10)) == (200, 0, 0, 255)
    assert cut_out(picture((30, 90, 30), (200, 0, 0))) is None
    assert cut_out(picture((255, 255, 255))) is None


def test_objects_are_laid_over_other_pictures(tmp_path: Path) -> None:
    """No white is left of the object's own ground, and both pictures are there."""
    for name, image in (("a", picture((255, 255, 255), (200, 0, 0))), ("b", picture((0, 90, 0)))):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "1.png")
    pictures = read_pictures(tmp_path)
    assert pictures is not None
    views = write_composed(pictures, 8, TINY, tmp_path / "views.npy")
    over_green = [view for view in views[:8] if (view[..., 1] > 60).any() and not (view > 200).all(axis=-1).any()]
    assert over_green
    for view in over_green:
        assert (view[..., 0] > 150).any()
    assert any((view[..., 0] > 150).any() for view in views[8:])  # the green picture becomes a ground


def test_an_object_on_cloth_lies_on_the_rim_of_a_picture_and_is_larger(tmp_path: Path) -> None:
    """The middle of the other picture, where its thing is, is never the ground."""
    shop, room = picture((255, 255, 255), (200, 0, 0)), picture((0, 90, 0))
    ImageDraw.Draw(room).rectangle((20, 16, 39, 23), (0, 0, 250))
    for name, image in (("a", shop), ("b", room)):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "1.png")
    pictures = read_pictures(tmp_path)
    assert pictures is not None
    red = {}
    for on_cloth in (0.0, 1.0):
        recipe = TINY.model_copy(update={"on_cloth": on_cloth})
        views = write_composed(pictures, 40, recipe, tmp_path / f"{on_cloth}.npy")[:40]
        blue = (views[..., 2] > 150).any((1, 2))
        assert blue.any() == (on_cloth == 0)
        red[on_cloth] = (views[..., 0] > 150).mean()
    assert red[1.0] > red[0.0]


def test_it_trains_on_composed_views_too_with_a_teacher_only(tmp_path: Path, pack: Path, backbone: Path) -> None:
    recipe = TINY.model_copy(update={"composed": 1, "sharpness": 0.5, "share": 0.5})
    pretrain(tmp_path / "with", [pack], backbone, recipe)
    assert (tmp_path / "with/pictures.composed1.targets.npy").exists()
    with pytest.raises(UsageError, match="teacher"):
        pretrain(tmp_path / "without", [pack], None, recipe)


def test_more_views_of_related_pictures_are_learned_from(
    tmp_path: Path, pack: Path, photos: Path, backbone: Path
) -> None:
    related_to = {"related": 3, "related_to": ("red",), "views": (1, 2), "min_scale": (0.9, 0.9)}
    pretrain(tmp_path, [photos, pack], backbone, TINY.model_copy(update=related_to))
    views = np.load(tmp_path / "pictures.related3.views.npy", mmap_mode="r")
    red = len(list((photos / "red").iterdir()))
    assert len(views) == 3 * red
    assert (views[..., 0].mean((1, 2)) > views[..., 2].mean((1, 2))).all()


def test_related_are_the_pictures_of_the_labels_most_like_the_things() -> None:
    of = np.eye(40, dtype=np.float32)
    labels = np.arange(40) // 2  # twenty labels of two pictures: two of them count
    assert related(of, labels, of[[7, 30]] * 0.9 + of[[6, 30]] * 0.1).tolist() == [6, 7, 30, 31]


def test_more_views_of_pictures_alike_are_learned_from(
    tmp_path: Path, pack: Path, photos: Path, backbone: Path
) -> None:
    asked = {"alike": 2, "related_to": ("red",), "views": (2, 1), "min_scale": (0.9, 0.9)}
    pretrain(tmp_path, [photos, pack], backbone, TINY.model_copy(update=asked))
    of_photos, of_pack = (len(np.load(tmp_path / f"{name}.alike2.views.npy")) for name in (photos.name, "pictures"))
    others = sum(len(list(folder.iterdir())) for folder in photos.iterdir() if folder.name != "red")
    pictures = read_pictures(pack)
    assert pictures is not None
    # fewer than count as alike: all, but the source's own
    assert (of_photos, of_pack) == (2 * others, 2 * len(pictures))


def test_alike_are_the_rows_nearest_to_the_mean_of_the_things() -> None:
    angles = np.linspace(0, np.pi, 1000)
    of = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    things = of[[480, 500, 520]]
    assert alike(of, things).tolist() == list(range(350, 650)) or alike(of, things).tolist() == list(range(351, 651))


@pytest.mark.parametrize("more", ["related", "alike"])
@pytest.mark.parametrize("related_to", [(), ("shoe",)])
def test_nothing_to_be_related_to_is_an_error(
    tmp_path: Path, pack: Path, backbone: Path, more: str, related_to: tuple[str, ...]
) -> None:
    recipe = TINY.model_copy(update={more: 1, "related_to": related_to})
    with pytest.raises(UsageError, match="related_to"):
        pretrain(tmp_path, [pack], backbone, recipe)
    assert not list(tmp_path.glob("*.npy"))  # said before the teacher is asked


def test_an_epoch_draws_the_share_of_views_that_the_recipe_asks_for() -> None:
    views = Views(np.zeros((800, 4, 4, 3), np.uint8), None, np.full(800, -1), np.arange(800) // 2)
    whole, half = (Batches([views], TINY.model_copy(update={"share": share}), None) for share in (1.0, 0.5))
    assert len(whole.train) + len(whole.held_out) == 800
    assert len(list(half.epoch(0))) == half.per_epoch == whole.per_epoch // 2


def test_the_result_is_the_mean_of_the_last_epochs(tmp_path: Path, pack: Path) -> None:
    """Also where the run was cut off between them."""
    asked = TINY.model_copy(update={"epochs": 2, "mean_of": 2})
    pretrain(tmp_path / "work", [pack], None, asked)
    state = torch.load(tmp_path / "work/checkpoint.pt", weights_only=True)
    first, last = (end["backbone.conv1.0.weight"] for end in state["ends"])
    assert not torch.equal(first, last)
    torch.testing.assert_close(last, state["averaged"]["backbone.conv1.0.weight"])
    for _ in range(2):  # the second time only the checkpoint is read
        torch.testing.assert_close(weights(tmp_path / "work")["conv1.0.weight"], ((first + last) / 2).half())
        (tmp_path / "work/backbone/model.safetensors").unlink()
        pretrain(tmp_path / "work", [pack], None, asked)


def test_sharpness_moves_edges_and_leaves_flat_ground() -> None:
    recipe = TINY.model_copy(update={"sharpness": 1.0, "colour": 0.0, "erase": 0.0})
    flat = torch.full((4, 40, 40, 3), 128, dtype=torch.uint8)
    got = augmented(flat, 40, recipe, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, torch.full_like(got, 128 / 255))
    edge = flat.clone()
    edge[:, :, 20:] = 200
    sharpened = augmented(edge, 40, recipe, torch.Generator().manual_seed(0))
    assert sharpened.max() > 200 / 255 + 0.01  # beyond the brighter side
