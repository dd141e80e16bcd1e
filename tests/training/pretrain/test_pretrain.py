"""The recipe of the built-in backbone on a few pictures: it trains, resumes, and writes a folder that timm opens."""

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
from handful.training.pretrain.augmentation import augment_views
from handful.training.pretrain.copy_paste import cut_out, write_copy_paste
from handful.training.pretrain.data_parallel import (
    backward_shard,
    replica_of,
    set_learning_rate,
    shard_generator,
    sharded_optimizers,
    sum_gradients,
)
from handful.training.pretrain.mining import mine_by_label, mine_by_picture
from handful.training.pretrain.pictures import VALIDATION, read_pictures
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.student import Student
from handful.training.pretrain.views import Batches, Views, crop_box
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

pytestmark = pytest.mark.slow


TINY = PretrainRecipe(
    architecture="resnet18", channels=(8, 8, 16, 16), layers=(1, 1, 1, 1), stem_width=8, view_pixels=40, views=(2,),
    target_dims=8, sizes=(32,), epochs=2, batch=8, warmup_steps=2, use_pixels=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The photos packed into one file, four of them a second time for validation."""
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


def test_the_result_is_a_backbone_that_training_loads(
    tmp_path: Path, pack: Path, backbone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        pretrain(tmp_path, [pack], backbone, TINY)
    loaded = load_backbone(str(tmp_path / "backbone"))
    assert loaded.config["num_features"] == 16
    assert loaded.config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert all(t.dtype == torch.float16 for t in weights(tmp_path).values() if t.is_floating_point())
    assert "of 4 validation pictures" in caplog.text


@pytest.mark.parametrize("shards", [1, 2])
def test_a_resumed_run_gives_the_same_weights(tmp_path: Path, pack: Path, backbone: Path, shards: int) -> None:
    """Within the warm-up the schedule does not depend on the number of epochs, so one plus one equal two."""
    recipe = TINY.model_copy(update={"warmup_steps": 10_000, "learning_rate": 10.0, "data_parallel": shards})
    pretrain(tmp_path / "whole", [pack], backbone, recipe)
    pretrain(tmp_path / "stopped", [pack], backbone, recipe.model_copy(update={"epochs": 1}))
    after_one = weights(tmp_path / "stopped")
    pretrain(tmp_path / "stopped", [pack], backbone, recipe)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "stopped")[name]), name
    assert any(not torch.equal(tensor, weights(tmp_path / "whole")[name]) for name, tensor in after_one.items())


def test_without_a_teacher_the_labels_of_a_folder_are_learned(tmp_path: Path, photos: Path) -> None:
    pretrain(tmp_path, [photos], None, TINY)
    assert weights(tmp_path)


def test_a_run_can_start_from_an_earlier_backbone(tmp_path: Path, pack: Path, backbone: Path) -> None:
    """With a learning rate of zero the weights it starts from come out unchanged."""
    pretrain(tmp_path / "first", [pack], backbone, TINY)
    unchanged = TINY.model_copy(update={"learning_rate": 0.0, "views": (2, 1), "min_scale": (0.3, 0.9)})
    pretrain(tmp_path / "second", [pack, pack], backbone, unchanged, tmp_path / "first/backbone")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first if name.endswith("weight"))


def test_sharded_gradients_add_up_to_the_gradient_of_all_shards() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)
    recipe = TINY.model_copy(update={"data_parallel": 2, "label_weight": 1.0})
    data = Batches([Views(pixels, None, np.arange(12) % 2, np.arange(12))], recipe, None)
    torch.manual_seed(0)
    student = Student(recipe, 2, 1)
    alone = copy.deepcopy(student)
    replicas, halves = [student, replica_of(student)], np.split(data.train[:10], 2)
    assert replicas[1].projection.weight.data_ptr() == student.projection.weight.data_ptr()
    losses = []
    for students in (replicas, [alone, alone]):
        generators = [shard_generator(recipe, 0, shard) for shard in range(2)]
        losses.append(
            [
                backward_shard(data, recipe, 32, torch.device("cpu"), *each)
                for each in zip(students, halves, generators, strict=True)
            ]
        )
    sum_gradients(student, replicas[1:])
    assert losses[0] == losses[1]
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    for summed, added in zip(student.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(summed.grad, added.grad)
    assert replicas[1].classifier.weight.grad is None


def test_sharded_optimizers_make_the_same_step() -> None:
    results = []
    for count in (1, 3):
        torch.manual_seed(0)
        student = Student(TINY, 2, 8)
        optimizer = create_optimizer_v2(student, opt="nmuon", lr=1.0, weight_decay=0.1)
        shards = sharded_optimizers(optimizer, count)
        for step in range(3):
            for parameter in student.parameters():
                parameter.grad = torch.randn(parameter.shape)
            set_learning_rate(shards, 0.1 * (step + 1))
            for shard in shards:
                shard.step()
        results.append((student.state_dict(), optimizer.state_dict()["state"]))
    (whole, state), (sharded, kept) = results
    assert all(torch.equal(tensor, sharded[name]) for name, tensor in whole.items())
    assert state.keys() == kept.keys()  # so a checkpoint of the one optimizer is complete


def test_a_work_folder_belongs_to_one_recipe(tmp_path: Path, pack: Path, backbone: Path) -> None:
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


def picture(background: tuple[int, int, int], thing: tuple[int, int, int] | None = None) -> Image.Image:
    image = Image.new("RGB", (60, 40), background)
    if thing:
        ImageDraw.Draw(image).rectangle((20, 10, 39, 29), thing)
    return image


def test_an_object_on_white_is_cut_out_and_nothing_else_is() -> None:
    cut = cut_out(picture((255, 255, 255), (200, 0, 0)))
    assert cut is not None
    assert cut.size == pytest.approx((20, 20), abs=2)
    assert cut.getpixel((10, 10)) == (200, 0, 0, 255)
    assert cut_out(picture((30, 90, 30), (200, 0, 0))) is None
    assert cut_out(picture((255, 255, 255))) is None


def test_objects_are_pasted_on_other_pictures(tmp_path: Path) -> None:
    """Both pictures are visible, and nothing of the object's own white background."""
    for name, image in (("a", picture((255, 255, 255), (200, 0, 0))), ("b", picture((0, 90, 0)))):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "1.png")
    pictures = read_pictures(tmp_path)
    assert pictures is not None
    views = write_copy_paste(pictures, 8, TINY, tmp_path / "views.npy")
    over_green = [view for view in views[:8] if (view[..., 1] > 60).any() and not (view > 200).all(axis=-1).any()]
    assert over_green
    for view in over_green:
        assert (view[..., 0] > 150).any()
    assert any((view[..., 0] > 150).any() for view in views[8:])  # on the green picture an object is pasted, too


def test_an_object_on_texture_is_larger_and_its_background_is_the_edge_of_a_picture(tmp_path: Path) -> None:
    """The middle of the other picture, where its own thing is, is never the background."""
    shop, room = picture((255, 255, 255), (200, 0, 0)), picture((0, 90, 0))
    ImageDraw.Draw(room).rectangle((20, 16, 39, 23), (0, 0, 250))
    for name, image in (("a", shop), ("b", room)):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "1.png")
    pictures = read_pictures(tmp_path)
    assert pictures is not None
    red = {}
    for on_texture in (0.0, 1.0):
        recipe = TINY.model_copy(update={"on_texture": on_texture})
        views = write_copy_paste(pictures, 40, recipe, tmp_path / f"{on_texture}.npy")[:40]
        blue = (views[..., 2] > 150).any((1, 2))
        assert blue.any() == (on_texture == 0)
        red[on_texture] = (views[..., 0] > 150).mean()
    assert red[1.0] > red[0.0]


def test_copy_paste_views_need_a_teacher(tmp_path: Path, pack: Path, backbone: Path) -> None:
    recipe = TINY.model_copy(update={"copy_paste": 1, "sharpness": 0.5, "share": 0.5})
    pretrain(tmp_path / "with", [pack], backbone, recipe)
    assert (tmp_path / "with/pictures.copy-paste1.targets.npy").exists()
    with pytest.raises(UsageError, match="teacher"):
        pretrain(tmp_path / "without", [pack], None, recipe)


def test_pictures_mined_by_label_get_more_views(tmp_path: Path, pack: Path, photos: Path, backbone: Path) -> None:
    asked = {"mined_by_label": 3, "mining_sources": ("red",), "views": (1, 2), "min_scale": (0.9, 0.9)}
    pretrain(tmp_path, [photos, pack], backbone, TINY.model_copy(update=asked))
    views = np.load(tmp_path / "pictures.mined-by-label3.views.npy", mmap_mode="r")
    red = len(list((photos / "red").iterdir()))
    assert len(views) == 3 * red
    assert (views[..., 0].mean((1, 2)) > views[..., 2].mean((1, 2))).all()


def test_mining_by_label_chooses_the_labels_most_similar_to_the_wanted_things() -> None:
    rows = np.eye(40, dtype=np.float32)
    labels = np.arange(40) // 2  # twenty labels of two pictures each: two labels are chosen
    assert mine_by_label(rows, labels, rows[[7, 30]] * 0.9 + rows[[6, 30]] * 0.1).tolist() == [6, 7, 30, 31]


def test_pictures_mined_by_picture_get_more_views(tmp_path: Path, pack: Path, photos: Path, backbone: Path) -> None:
    asked = {"mined_by_picture": 2, "mining_sources": ("red",), "views": (2, 1), "min_scale": (0.9, 0.9)}
    pretrain(tmp_path, [photos, pack], backbone, TINY.model_copy(update=asked))
    of_photos, of_pack = (
        len(np.load(tmp_path / f"{name}.mined-by-picture2.views.npy")) for name in (photos.name, "pictures")
    )
    others = sum(len(list(folder.iterdir())) for folder in photos.iterdir() if folder.name != "red")
    pictures = read_pictures(pack)
    assert pictures is not None
    # fewer than would be chosen: all of them, except the source's own
    assert (of_photos, of_pack) == (2 * others, 2 * len(pictures))


def test_mining_by_picture_chooses_the_rows_nearest_to_the_mean_of_the_wanted_things() -> None:
    angles = np.linspace(0, np.pi, 1000)
    rows = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    chosen = mine_by_picture(rows, rows[[480, 500, 520]]).tolist()
    assert chosen in (list(range(350, 650)), list(range(351, 651)))


@pytest.mark.parametrize("mining", ["mined_by_label", "mined_by_picture"])
@pytest.mark.parametrize("sources", [(), ("shoe",)])
def test_mining_without_a_known_source_is_an_error(
    tmp_path: Path, pack: Path, backbone: Path, mining: str, sources: tuple[str, ...]
) -> None:
    recipe = TINY.model_copy(update={mining: 1, "mining_sources": sources})
    with pytest.raises(UsageError, match="mining_sources"):
        pretrain(tmp_path, [pack], backbone, recipe)
    assert not list(tmp_path.glob("*.npy"))  # raised before the teacher computes anything


def test_an_epoch_draws_the_share_of_views_that_the_recipe_asks_for() -> None:
    views = Views(np.zeros((800, 4, 4, 3), np.uint8), None, np.full(800, -1), np.arange(800) // 2)
    whole, half = (Batches([views], TINY.model_copy(update={"share": share}), None) for share in (1.0, 0.5))
    assert len(whole.train) + len(whole.held_out) == 800
    assert len(list(half.epoch(0))) == half.per_epoch == whole.per_epoch // 2


def test_the_result_is_the_mean_of_the_last_epochs(tmp_path: Path, pack: Path) -> None:
    """Also where the run was interrupted between them."""
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


def test_sharpness_changes_edges_and_leaves_flat_areas() -> None:
    recipe = TINY.model_copy(update={"sharpness": 1.0, "colour": 0.0, "erase": 0.0})
    flat = torch.full((4, 40, 40, 3), 128, dtype=torch.uint8)
    got = augment_views(flat, 40, recipe, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, torch.full_like(got, 128 / 255))
    edge = flat.clone()
    edge[:, :, 20:] = 200
    sharpened = augment_views(edge, 40, recipe, torch.Generator().manual_seed(0))
    assert sharpened.max() > 200 / 255 + 0.01  # beyond the brighter side
