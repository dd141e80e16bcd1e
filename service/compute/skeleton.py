"""A backbone from its description and its weights, compared before memory is taken: a description may ask for anything.

The network is first built without memory (on torch's meta device), as far as its weights justify. If the names and
shapes of the two are the same, it can take no more memory than the weights' file has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from handful.service.artifact.errors import ArtifactInconsistent
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

MODULES_PER_TENSOR, SMALL_NETWORK = 10, 1000  # timm's networks have at most 3.1 modules per tensor of weights
MAX_DERIVED_BYTES = 256_000_000  # tables that a network makes itself; timm's have at most 32 MB


def build_fitting(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> nn.Module:
    """The network with these weights. Raises `ArtifactInconsistent` if they are another network's."""
    with _few_modules(MODULES_PER_TENSOR * len(weights) + SMALL_NETWORK), without_memory():
        skeleton = build()
    stored = skeleton.state_dict()
    _check_fit({name: tuple(tensor.shape) for name, tensor in stored.items()}, weights)
    derived = [tensor for name, tensor in skeleton.named_buffers() if name not in stored]
    if sum(tensor.numel() * tensor.element_size() for tensor in derived) > MAX_DERIVED_BYTES:
        raise ArtifactInconsistent("The network would make tables of more than 256 MB.")
    if derived or _has_other_tensors(skeleton):
        network = build()
        network.load_state_dict(weights)
        return network
    own = {name: weights[name].to(stored[name].dtype, copy=True) for name in stored}  # the file may be changed
    skeleton.load_state_dict(own, assign=True)
    return skeleton


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks that are built in the block have names and shapes alone."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Without memory there is nothing to fill with random numbers; torch would import sympy for it, half a second."""

    def __torch_function__(
        self, function: Callable[..., Any], _: Any, arguments: tuple[Any, ...] = (), keywords: Any = None
    ) -> Any:
        given = keywords or {}
        if function in {Tensor.normal_, Tensor.uniform_} or getattr(function, "__module__", "") == nn.init.__name__:
            return arguments[0] if arguments else given["tensor"]
        return function(*arguments, **given)


def _check_fit(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> None:
    for name in [*shapes, *weights]:
        stored = tuple(weights[name].shape) if name in weights else None
        if stored != shapes.get(name):
            raise ArtifactInconsistent(
                f"The weights do not fit the network: {ascii(name)[:80]} has the shape {stored} in the file and"
                f" {shapes.get(name)} in the network."
            )


def _has_other_tensors(network: nn.Module) -> bool:
    """Whether a module keeps tensors that are neither parameters nor buffers."""
    values = (value for module in network.modules() for value in vars(module).values())
    return any(
        isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(isinstance(e, Tensor) for e in value))
        for value in values
    )


@contextmanager
def _few_modules(most: int) -> Iterator[None]:
    """Ends the building of a network, in this thread, that has more modules."""
    thread, count = threading.get_ident(), 0

    def counted(*_: object) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > most:
                raise ArtifactInconsistent(f"The network would have more than {most} modules, its weights far fewer.")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()
