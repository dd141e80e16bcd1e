"""What an artifact says about itself, checked before anything is built by it: it may come from a stranger.

Nothing here imports torch. `compute/skeleton.py` then compares the network with its weights before it takes memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ArtifactInconsistent
from safetensors import SafetensorError, safe_open

MAX_TEXT_BYTES = 64_000_000  # per JSON file; a card with 1000 labels has 10 MB
MAX_TENSOR_BYTES = 8_000_000_000  # per file of tensors; the largest network of timm that one GPU trains has 4 GB
MAX_SIDE = 1024  # pixels of the network's input; ResNets have 224 to 384, the largest networks of timm 1024
MIN_CROP = 0.25  # timm's networks have 0.75 to 1
MAX_ARGUMENT = 65_536  # any number among the arguments of a network, in size
MAX_ARGUMENTS = 1000  # numbers, texts and lists among them
INTERPOLATIONS = frozenset({"nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"})
Shape = tuple[int, ...]


def check_config(config: Mapping[str, Any]) -> None:
    """Raises ValueError for a config.json that describes no network of ours; whether timm can build it is not asked."""
    arguments = config.get("model_args", {})
    for name, value, kind in (
        ("architecture", config.get("architecture"), str),
        ("pretrained_cfg", config.get("pretrained_cfg"), dict),
        ("model_args", arguments, dict),
    ):
        if not isinstance(value, kind):
            expected = "text" if kind is str else "an object"
            raise ValueError(f"{name} is {_cut(value)}; {expected} is expected")  # noqa: TRY004 - the caller's one kind
    check_input(config["pretrained_cfg"])
    for number, value in enumerate(_values(arguments)):
        if number >= MAX_ARGUMENTS:
            raise ValueError(f"model_args has more than {MAX_ARGUMENTS} values")
        if _is_number(value) and not abs(value) <= MAX_ARGUMENT:
            raise ValueError(f"model_args has {_cut(value)}; at most {MAX_ARGUMENT} is allowed")


def check_input(described: Mapping[str, Any]) -> None:
    """The input that a `pretrained_cfg` asks for. Raises ValueError that says what is allowed."""
    size = described.get("input_size")
    if not (
        isinstance(size, list | tuple)
        and len(size) == 3
        and all(type(number) is int for number in size)
        and size[0] == 3
        and 1 <= size[1] == size[2] <= MAX_SIDE
    ):
        raise ValueError(f"input_size is {_cut(size)}; (3, S, S) is allowed, with S from 1 to {MAX_SIDE}")
    for name, low, high in (("mean", -1000, 1000), ("std", 1e-3, 1000)):
        numbers = described.get(name)
        if not (isinstance(numbers, list | tuple) and len(numbers) == 3 and all(map(_is_number, numbers))):
            raise ValueError(f"{name} is {_cut(numbers)}; three numbers are expected")
        if not all(low <= number <= high for number in numbers):
            raise ValueError(f"{name} is {_cut(numbers)}; numbers from {low:g} to {high:g} are allowed")
    crop = described.get("crop_pct")
    if crop is not None and not (_is_number(crop) and MIN_CROP <= crop <= 1):
        raise ValueError(f"crop_pct is {_cut(crop)}; {MIN_CROP:g} to 1 is allowed")
    interpolation = described.get("interpolation")
    if interpolation and interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {_cut(interpolation)}; {', '.join(sorted(INTERPOLATIONS))} are allowed")
    if (mode := described.get("crop_mode")) and mode not in {"center", "squash"}:
        raise ValueError(f"crop_mode is {_cut(mode)}; center and squash are allowed")


def check_size(path: Path, max_bytes: int) -> None:
    """Before a file is read."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ArtifactInconsistent(f"{path} has {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} are allowed.")


def check_embeddings(path: Path, card: ModelCard) -> None:
    """The shapes in embeddings.safetensors, and the label numbers. The embeddings themselves are not read."""
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
            numbers = file.get_tensor("labels") if "labels" in shapes else None
    except (SafetensorError, OSError, ValueError, TypeError) as e:  # numpy lacks some types of tensors
        raise ArtifactInconsistent(f"{path} cannot be read: {e}.") from e
    for name, expected in _expected(shapes, card).items():
        if name in shapes and not _fits(shapes[name], expected):
            raise ArtifactInconsistent(f"{path}: {name} has the shape {shapes[name]}, which does not fit the card.")
    if "unknown.directions" not in shapes:
        raise ArtifactInconsistent(f"{path} has no unknown.directions; the unknown detector needs them.")
    if numbers is not None and numbers.size and not (numbers.min() >= 0 and numbers.max() < len(card.labels)):
        raise ArtifactInconsistent(f"{path}: labels has numbers that are not those of the card's labels.")


def _expected(shapes: Mapping[str, Shape], card: ModelCard) -> dict[str, tuple[int | None, ...]]:
    """The shape of each array; None: any size."""
    directions = shapes.get("unknown.directions", ())
    width = directions[1] if len(directions) == 2 else None
    images, labels = card.data.images, len(card.labels)
    return {
        "unknown.directions": (labels, None),
        "embeddings": (images, width),
        "labels": (images,),
        "hashes": (images, 32),
        "pictures": (images, 32),
        "folds": (images, None),
        "cues": (images, 7),
        "answers": (images, labels),
        "unknown.other": (width,),
        "other.embeddings": (card.data.other, width),
        "other.hashes": (card.data.other, 32),
        "other.pictures": (card.data.other, 32),
    }


def _fits(shape: Shape, expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(e in {None, n} for n, e in zip(shape, expected, strict=True))


def _values(value: Any) -> Iterator[Any]:
    """The value and all within it."""
    pending = [value]
    while pending:
        each = pending.pop()
        yield each
        if isinstance(each, dict):
            pending += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            pending += each


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _cut(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
