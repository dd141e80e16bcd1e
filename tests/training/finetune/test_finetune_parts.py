"""Fine-tuning in its parts: layers, learning rates, stopping, one trainer, checkpoints, significance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.training.backbone import Backbone, load_backbone
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.distributed import Ranks, process_group
from handful.training.finetune.layers import layers, layers_from, parameter_groups
from handful.training.finetune.photos import PhotoLoader
from handful.training.finetune.schedule import best, has_ended, mean_over_folds, warmup_cosine
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.significance import paired_bootstrap
from handful.training.finetune.trainer import Start, Trainer
from handful.training.head.hidden import HiddenHead
from handful.training.head.labelled import Floats
from handful.training.head.linear import LinearHead
from stripes import write_stripes
from torch import nn

SETTINGS = FineTuneSettings(epochs=4, batch=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def pretrained(backbone: Path) -> Backbone:
    return load_backbone(str(backbone))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, pretrained: Backbone) -> PhotoLoader:
    folder = write_stripes(tmp_path_factory.mktemp("stripes") / "photos", 4)
    return PhotoLoader(
        sorted(folder.rglob("*.png")), Preprocessing.from_pretrained_cfg(pretrained.config["pretrained_cfg"])
    )


def start(pretrained: Backbone) -> Start:
    weight: Floats = np.random.default_rng(0).normal(0, 0.1, (2, pretrained.config["num_features"])).astype(np.float32)
    return Start(pretrained.network, LinearHead(weight, np.zeros(2, np.float32)))


def trainer_of(pretrained: Backbone, photos: PhotoLoader, layer: str | None = None) -> Trainer:
    settings = SETTINGS.model_copy(update={"layer": layer})
    labels = np.repeat([0, 1], 4)
    return Trainer(start(pretrained), photos, labels, np.arange(8), settings, [0, 1], Ranks())


def silent(count: int, words: str) -> None:
    """Progress that nobody watches."""


def test_the_first_of_torchruns_processes_waits_for_none_without_fine_tuning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others have ended by then: it would wait for a day."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with process_group(fine_tuning=False) as ranks:
        assert ranks == Ranks()


def test_layers_have_the_names_of_the_architecture_and_hold_every_parameter(pretrained: Backbone) -> None:
    stages = layers(pretrained.network)
    assert [layer.name for layer in stages] == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    names = [name for layer in stages for name in layer.parameters]
    assert sorted(names) == sorted(name for name, _ in pretrained.network.named_parameters())


def test_a_layer_that_is_not_there_is_told_the_ones_that_are(pretrained: Backbone) -> None:
    with pytest.raises(UsageError, match="'layer9', allowed for this backbone: conv1, layer1, layer2, layer3, layer4"):
        layers_from(pretrained.network, "layer9")


def test_lower_layers_learn_more_slowly(pretrained: Backbone) -> None:
    groups = parameter_groups(pretrained.network, nn.Linear(2, 2), layers(pretrained.network), SETTINGS)
    shares = [group["share"] for group in groups[1:]]
    assert shares == sorted(shares)
    assert groups[0]["share"] == shares[-1] == 1
    assert shares[0] == pytest.approx(SETTINGS.lowest_rate_share)


def test_the_rate_rises_then_falls_to_zero() -> None:
    shares = [warmup_cosine(step, 100, warmup_steps=10) for step in range(100)]
    assert shares[9] == 1
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] < 0.01


@pytest.mark.parametrize(
    ("losses", "ended", "epochs"),
    [([0.5], False, 0), ([0.5, 0.6, 0.7], True, 0), ([0.5, 0.4, 0.6], False, 1), ([0.5, 0.4, 0.3, 0.2, 0.1], True, 4)],
)
def test_it_ends_when_patience_does(losses: list[float], ended: bool, epochs: int) -> None:
    of_photos = [np.full((1, 5), loss) for loss in losses]
    assert has_ended(of_photos, SETTINGS.model_copy(update={"patience": 2})) == ended
    assert best(of_photos) == (epochs, 0)


def test_a_larger_blend_or_an_earlier_epoch_is_taken_only_beyond_a_standard_error() -> None:
    before, half, noise = np.full((2, 20), 0.5), np.full(20, 0.4), np.tile([-0.1, 0.1], 10)
    assert best([before, np.stack([half, half - 0.02 + noise])]) == (1, 0)
    assert best([before, np.stack([half, half - 0.03 + noise])]) == (1, 1)
    assert best([before, np.stack([half, half + 0.2]), np.stack([half + 0.1, half - 0.1])]) == (2, 1)
    assert best([before, np.stack([half, half]), np.stack([half + 0.02 + noise, half])]) == (2, 0)
    assert best([before, before, before + 0.01]) == (0, 0)


def test_what_all_folds_measured_is_one_mean_per_photo() -> None:
    """The second fold ended an epoch earlier; photo 1 is in both, photo 3 in none."""
    first = (np.array([0, 1]), [np.array([[1.0, 2.0]]), np.array([[0.5, 1.0]]), np.array([[0.2, 0.4]])])
    second = (np.array([1, 2]), [np.array([[4.0, 3.0]]), np.array([[3.0, 2.0]])])
    means = mean_over_folds([first, second], 4)
    assert [loss.tolist() for loss in means] == [[[1.0, 3.0, 3.0]], [[0.5, 2.0, 2.0]], [[0.2, 1.7, 2.0]]]


def test_few_photos_are_seen_often_and_many_rarely() -> None:
    settings = FineTuneSettings(steps=300, batch=16)
    assert [settings.for_photos(count).epochs for count in (10, 240, 1200, 100_000)] == [30, 20, 10, 10]
    assert SETTINGS.for_photos(240).epochs == SETTINGS.epochs


def test_all_layers_learn_but_not_the_statistics_of_normalisation(pretrained: Backbone, photos: PhotoLoader) -> None:
    before = {name: tensor.clone() for name, tensor in pretrained.network.state_dict().items()}
    trainer = trainer_of(pretrained, photos)
    trainer.train_epoch(silent)
    after = trainer.blended_network().backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name].cpu())}
    assert changed == {name for name, _ in pretrained.network.named_parameters()}
    assert all(torch.equal(tensor, pretrained.network.state_dict()[name]) for name, tensor in before.items())


def test_below_the_layer_that_was_named_nothing_changes(pretrained: Backbone, photos: PhotoLoader) -> None:
    trainer = trainer_of(pretrained, photos, "layer4")
    trainer.train_epoch(silent)
    after = trainer.blended_network().backbone.state_dict()
    changed = {name for name, tensor in pretrained.network.state_dict().items() if not torch.equal(tensor, after[name])}
    assert changed
    assert all(name.startswith("layer4.") for name in changed)


def test_a_hidden_head_is_trained_too_and_read_back(pretrained: Backbone, photos: PhotoLoader) -> None:
    random, width = np.random.default_rng(0), pretrained.config["num_features"]
    shapes = ((3, width), (3,), (2, 3), (2,))
    arrays: list[Floats] = [random.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    head = HiddenHead(arrays[0], arrays[1], LinearHead(arrays[2], arrays[3]))
    trainer = Trainer(
        Start(pretrained.network, head), photos, np.repeat([0, 1], 4), np.arange(8), SETTINGS, [0], Ranks()
    )
    before = HiddenHead.from_module(trainer.blended_network().get_submodule("head")).tensors
    assert all(torch.equal(before[name], tensor) for name, tensor in head.tensors.items())
    trainer.train_epoch(silent)
    after = HiddenHead.from_module(trainer.blended_network().get_submodule("head")).tensors
    assert not any(torch.equal(after[name], tensor) for name, tensor in head.tensors.items())


def test_a_run_that_was_saved_and_loaded_goes_on_as_if_it_had_not(
    tmp_path: Path, pretrained: Backbone, photos: PhotoLoader
) -> None:
    whole, first, second = (trainer_of(pretrained, photos) for _ in range(3))
    checkpoints = Checkpoints(tmp_path, "key", Ranks(), save_every_seconds=0)
    first.train_epoch(silent)
    checkpoints.save_running("fold-0", first.state)
    saved = checkpoints.running("fold-0")
    assert saved is not None
    second.load(saved)
    for trainer in (whole, whole, second):
        trainer.train_epoch(silent)
    numbers = np.arange(8)
    assert torch.equal(whole.logits(numbers), second.logits(numbers))
    assert not torch.equal(whole.logits(numbers), first.logits(numbers))


def test_a_checkpoint_is_that_of_one_run_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key", Ranks(), save_every_seconds=0)
    checkpoints.save_running("fold-0", lambda: {"epoch": 1})
    assert checkpoints.running("fold-1") is None
    (checkpoints.folder / "running.pt").write_bytes(b"PK\x03\x04 cut off")
    assert checkpoints.running("fold-0") is None


def test_what_was_computed_is_remembered_until_it_is_removed(tmp_path: Path) -> None:
    counted: list[int] = []

    def compute() -> dict[str, int]:
        counted.append(1)
        return {"epochs": 3}

    for _ in range(2):
        assert Checkpoints(tmp_path, "key", Ranks()).remember("losses-0", compute) == {"epochs": 3}
    assert len(counted) == 1
    Checkpoints(tmp_path, "key", Ranks()).remove()
    assert not (tmp_path / "finetune/key").exists()


def probabilities(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, 2), the right label with the probability given."""
    return np.where(np.eye(2, dtype=bool)[labels], right[:, None], 1 - right[:, None])


def test_what_is_better_on_most_photos_is_kept_and_what_is_equal_is_not() -> None:
    random = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1], 50), np.arange(100)
    frozen = random.uniform(0.4, 0.9, 100)
    better = paired_bootstrap(
        probabilities(frozen, labels), probabilities(frozen + 0.09, labels), labels, groups, seed=0
    )
    assert better.significant
    assert better.accuracy > 0
    assert better.accuracy_ci95[0] <= better.accuracy <= better.accuracy_ci95[1]
    noise = np.clip(frozen + random.normal(0, 0.1, 100), 0.01, 0.99)
    equal = paired_bootstrap(probabilities(frozen, labels), probabilities(noise, labels), labels, groups, seed=0)
    assert not equal.significant
    assert "not better" in equal.reason


def test_copies_of_one_photo_are_no_evidence() -> None:
    """Forty photos of which twenty are one: their gain counts once."""
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    frozen = np.full(40, 0.6)
    tuned = np.where(np.arange(40) < 20, 0.7, 0.6 + random.normal(0, 0.03, 40))
    alone = paired_bootstrap(probabilities(frozen, labels), probabilities(tuned, labels), labels, np.arange(40), seed=0)
    copies = np.where(np.arange(40) < 20, 0, np.arange(40))
    grouped = paired_bootstrap(probabilities(frozen, labels), probabilities(tuned, labels), labels, copies, seed=0)
    assert alone.log_loss_ci95[0] > grouped.log_loss_ci95[0]
