"""The head that is chosen, and that what leaves works on raw embeddings."""

import numpy as np
import pytest
import torch
from handful.service.artifact.errors import DataError
from handful.service.compute.network import build_head
from handful.training.head.folds import Folds
from handful.training.head.hidden import LEARNING_RATE, HiddenHead, adamw_step
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.linear import LinearHead
from handful.training.head.selection import HEADS, HeadSettings, SelectedHead, fit_head
from numpy.typing import NDArray
from pydantic import ValidationError

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def clouds(images_per_label: list[int], dimensions: int = 40, distance: float = 6.0, seed: int = 0) -> Data:
    """Embeddings (N, D) around one random centre per label, far from the origin and of no particular scale."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(images_per_label)), images_per_label)
    centres = random.normal(size=(len(images_per_label), dimensions))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    embeddings = 30 + 7 * (centres[labels] + random.normal(size=(len(labels), dimensions)))
    return embeddings.astype(np.float32), labels


def fitted(embeddings: np.ndarray, labels: np.ndarray, **settings: object) -> SelectedHead:
    data = LabelledEmbeddings(embeddings, labels, np.arange(len(labels)), int(labels.max()) + 1)
    folds = Folds.make(data.labels, data.groups, seed=0)
    return fit_head(data, folds, HeadSettings.model_validate(settings), seed=0)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("kind", ["linear", "hidden"])
@pytest.mark.parametrize("dimensions", [12, 100])
def test_both_kinds_learn_raw_embeddings_with_more_and_fewer_dimensions_than_photos(kind: str, dimensions: int) -> None:
    embeddings, labels = clouds([20, 20, 20], dimensions)
    head = fitted(embeddings, labels, kind=kind, widths=(64,), weight_decays=(0.3,))
    assert head.kind == kind
    assert accuracy(head.logits(embeddings), labels) > 0.95
    assert accuracy(head.out_of_fold_logits, labels) > 0.85
    assert head.tensors["weight"].dtype == torch.float32


def test_linear_head_is_one_matrix_on_the_raw_embedding() -> None:
    embeddings, labels = clouds([20, 20])
    head = fitted(embeddings, labels, kind="linear")
    assert isinstance(head.head, LinearHead)
    assert set(head.tensors) == {"weight", "bias"}
    assert head.head.weight.shape == (2, 40)
    assert np.allclose(head.logits(embeddings), embeddings @ head.head.weight.T + head.head.bias)


def test_choice_does_not_depend_on_the_backbones_scale_or_offset() -> None:
    embeddings, labels = clouds([15, 15], distance=2.0)
    head, scaled = fitted(embeddings, labels, kind="linear"), fitted(embeddings * 50 + 9, labels, kind="linear")
    assert head.settings == scaled.settings
    assert np.allclose(head.logits(embeddings), scaled.logits(embeddings * 50 + 9), atol=0.05)


def test_auto_stays_linear_where_linear_makes_no_mistake() -> None:
    head = fitted(*clouds([25, 25], distance=12.0))
    assert head.kind == "linear"
    assert head.settings == {"strength": HeadSettings().usual_strength, "means": max(HeadSettings().means)}


def test_auto_takes_the_hidden_head_where_no_line_divides_the_labels() -> None:
    random = np.random.default_rng(0)
    corners = random.choice([-1.0, 1.0], size=(240, 2))
    embeddings = (corners + random.normal(0, 0.2, (240, 2))).astype(np.float32)
    head = fitted(embeddings, (corners.prod(axis=1) > 0).astype(np.int64), kind="auto")
    assert head.kind == "hidden"
    assert set(head.tensors) == {"hidden.weight", "hidden.bias", "weight", "bias"}


def test_rare_label_is_still_predicted() -> None:
    embeddings, labels = clouds([200, 6], distance=8.0)
    head = fitted(embeddings, labels, kind="linear")
    assert accuracy(head.out_of_fold_logits[200:], labels[200:]) > 0.6


def test_label_of_two_photos_may_stand_beside_others() -> None:
    head = fitted(*clouds([10, 10, 2]), kind="linear")
    assert np.isfinite(head.out_of_fold_logits).all()


def test_many_labels_of_five_photos_are_learned() -> None:
    embeddings, labels = clouds([5] * 60, dimensions=64, distance=9.0)
    assert accuracy(fitted(embeddings, labels).out_of_fold_logits, labels) > 0.85


def test_out_of_fold_logits_do_not_see_the_label_of_the_photo() -> None:
    """Labels without any relation to the embeddings are guessed no better than by chance."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(120, 60)).astype(np.float32)
    assert (
        0.3
        < accuracy(
            fitted(embeddings, random.permutation(np.repeat([0, 1], 60))).out_of_fold_logits, np.repeat([0, 1], 60)
        )
        < 0.7
    )


@pytest.mark.parametrize("kind", ["linear", "hidden"])
def test_same_seed_gives_the_same_bytes(kind: str) -> None:
    data = clouds([12, 12])
    first, again = (fitted(*data, kind=kind, widths=(16,), weight_decays=(0.3,)) for _ in range(2))
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


def test_identical_embeddings_do_not_break() -> None:
    head = fitted(np.ones((20, 8), dtype=np.float32), np.repeat([0, 1], 10), kind="linear")
    assert torch.isfinite(head.tensors["weight"]).all()


def test_embeddings_that_are_not_finite_are_an_error() -> None:
    embeddings, labels = clouds([5, 5])
    embeddings[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        fitted(embeddings, labels)


def test_the_logit_of_a_single_label_is_the_likeness_to_its_mean() -> None:
    embeddings = np.random.default_rng(0).normal(1, 0.3, size=(6, 3)).astype(np.float32)
    head = fitted(embeddings, np.zeros(6, dtype=np.int64))
    mean = embeddings.mean(axis=0)
    np.testing.assert_allclose(head.logits(embeddings)[:, 0], embeddings @ mean / np.linalg.norm(mean), rtol=1e-5)
    assert head.out_of_fold_logits.shape == (6, 1)


def test_a_label_without_a_photo_is_an_error() -> None:
    data = LabelledEmbeddings(np.ones((4, 3), np.float32), np.zeros(4, np.int64), np.arange(4), 2)
    with pytest.raises(DataError, match=r"got images per label .4, 0.; at least one label, each with an image"):
        fit_head(data, Folds.make(data.labels, data.groups, 0), HeadSettings(), 0)


def test_unknown_setting_is_an_error() -> None:
    with pytest.raises(ValidationError):
        HeadSettings.model_validate({"depth": 3})


def test_folds_that_are_fitted_in_parallel_give_the_same_bytes() -> None:
    embeddings, labels = clouds([60] * 10, dimensions=400)
    first, again = (fitted(embeddings, labels, kind="linear") for _ in range(2))
    assert torch.equal(first.tensors["weight"], again.tensors["weight"])
    assert accuracy(first.out_of_fold_logits, labels) > 0.95


def test_a_hidden_head_learns_from_more_photos_than_one_step_takes() -> None:
    random = np.random.default_rng(0)
    corners = random.choice([-1.0, 1.0], size=(4500, 2))
    embeddings = (corners + random.normal(0, 0.2, (4500, 2))).astype(np.float32)
    labels = (corners.prod(axis=1) > 0).astype(np.int64)
    head = fitted(embeddings, labels, kind="hidden", widths=(32,), weight_decays=(0.3,))
    assert accuracy(head.out_of_fold_logits, labels) > 0.95
    assert accuracy(head.logits(embeddings), labels) > 0.95


@pytest.mark.parametrize("kind", ["linear", "hidden"])
def test_a_head_is_read_back_from_its_tensors_and_from_its_torch_module(kind: str) -> None:
    embeddings, labels = clouds([12, 12])
    head = fitted(embeddings, labels, kind=kind, widths=(16,), weight_decays=(0.3,))
    module = build_head(kind, head.tensors)
    assert np.allclose(module(torch.from_numpy(embeddings)).detach().numpy(), head.logits(embeddings), atol=1e-3)
    for again in (HEADS[head.kind].from_tensors(head.tensors), HEADS[head.kind].from_module(module)):
        assert np.array_equal(again.logits(embeddings), head.logits(embeddings))


def test_a_head_can_be_given_a_temperature_and_further_labels() -> None:
    last = LinearHead(np.eye(2, dtype=np.float32), np.array([0.5, -0.5], np.float32))
    for head in (last, HiddenHead(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), last)):
        embeddings = np.array([[1.0, 2.0]], np.float32)
        assert head.at_temperature(2.0).logits(embeddings).tolist() == [[0.75, 0.75]]
        assert head.with_labels(np.array([0, 2]), 3).logits(embeddings).tolist() == [[1.5, -0.5, 1.5]]


def test_the_answer_does_not_depend_on_the_length_of_an_embedding() -> None:
    """As photos of another style or camera have longer or shorter ones."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 15)
    embeddings = np.abs(random.normal(size=(3, 50))[labels] + random.normal(size=(45, 50))).astype(np.float32)
    head = fitted(embeddings, labels, kind="linear")
    assert not head.tensors["bias"].any()
    for factor in (0.2, 5.0):
        assert np.array_equal(head.logits(embeddings * factor).argmax(axis=1), head.logits(embeddings).argmax(axis=1))


def test_embeddings_that_share_no_direction_keep_a_bias() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 40])
    embeddings = random.normal(size=(80, 30)).astype(np.float32)
    embeddings[labels == 1] *= 0.2  # one label is a small cloud in the middle of the other
    head = fitted(embeddings + 0.05, labels, kind="linear")
    assert np.isfinite(head.out_of_fold_logits).all()
    assert float(head.tensors["weight"].abs().max()) < 100


def test_label_means_are_left_out_where_a_border_is_clearly_better() -> None:
    """Two labels whose means hardly differ beside a dimension that tells them apart and matters little."""
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 150)
    embeddings = 5 + random.normal(size=(300, 40)) * np.linspace(2, 0.1, 40)
    embeddings[:, -1] += np.where(labels == 1, 0.4, -0.4)
    head = fitted(embeddings.astype(np.float32), labels, kind="linear")
    assert head.settings["means"] == 0
    assert accuracy(head.out_of_fold_logits, labels) > 0.9


def test_a_photo_that_counts_for_more_is_learned_and_the_others_stay() -> None:
    embeddings, labels = clouds([30, 30], distance=6.0)
    labels[0] = 1  # among photos of the other label
    data = LabelledEmbeddings(embeddings, labels, np.arange(len(labels)), 2)
    plain = HEADS["linear"].fit(data, {"strength": 3.0, "means": 50.0}, 0)
    weighted = HEADS["linear"].fit(data.weighted(np.array([0]), 64.0), {"strength": 3.0, "means": 50.0}, 0)
    assert plain.logits(embeddings[:1]).argmax() == 0
    assert weighted.logits(embeddings[:1]).argmax() == 1
    assert accuracy(weighted.logits(embeddings[1:]), labels[1:]) > 0.95


@pytest.mark.slow
def test_where_two_folds_choose_every_photo_is_still_answered_out_of_fold() -> None:
    embeddings, labels = clouds([4] * 500, dimensions=1000, distance=40)
    head = fitted(embeddings, labels)
    assert head.out_of_fold_logits.shape == (2000, 500)
    assert accuracy(head.out_of_fold_logits, labels) > 0.9
    assert head.settings in [tried["settings"] for tried in head.candidates]


def test_a_step_of_the_hidden_layer_is_torchs_adamw_to_the_last_bit() -> None:
    random = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.zeros(5))] for _ in range(2))
    step, optimizer = adamw_step(ours, 0.1), torch.optim.AdamW(theirs, lr=LEARNING_RATE, weight_decay=0.1)
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=random)
            other.grad = one.grad.clone()
        step()
        optimizer.step()
        assert all(one.grad is None for one in ours)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
