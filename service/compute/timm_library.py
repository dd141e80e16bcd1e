"""timm, imported without torch's compiler, which takes 1.4 s and 140 MB: none of our networks is compiled on import.

Two lines ask for the compiler while timm is imported: torchvision's `roi_align` imports a function that it calls only
when it runs, and timm's NaFlexViT marks methods that must not be compiled. Both ask when they are called, instead.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo.utils"
_compiler: Any = torch.compiler
_disable_now = _compiler.disable


class _Later(ModuleType):
    """Stands in for the module; is replaced by it when anything else of it is asked for."""

    def is_compile_supported(self, device_type: str) -> bool:
        return bool(import_module(COMPILER).is_compile_supported(device_type))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(import_module(COMPILER), name)


def _disable(function: Callable[..., Any] | None = None, recursive: bool = True, **how: Any) -> Any:  # noqa: FBT001, FBT002 - torch's signature
    """As `torch.compiler.disable`, but at the first call of the function."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **how)
    disabled = functools.cache(lambda: _disable_now(function, recursive, **how))

    @functools.wraps(function)
    def later(*args: Any, **keywords: Any) -> Any:
        return disabled()(*args, **keywords)

    return later


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported in the block imports the compiler when it needs it."""
    if COMPILER in sys.modules:
        yield
        return
    stand_in = _Later(COMPILER)
    sys.modules[COMPILER], _compiler.disable = stand_in, _disable
    try:
        yield
    finally:
        _compiler.disable = _disable_now
        if sys.modules.get(COMPILER) is stand_in:
            del sys.modules[COMPILER]


with without_compiler():
    import timm as timm
    from timm.layers.conv2d_same import Conv2dSame as Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d as BatchNormAct2d
    from timm.models.efficientnet import EfficientNet as EfficientNet
