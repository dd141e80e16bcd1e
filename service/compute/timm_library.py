"""timm, imported without what none of our networks needs: torch's compiler, 1.4 s and 140 MB, and torchvision's models.

Three lines ask for these while timm is imported: torchvision's `roi_align` imports a function that it calls only when
it runs, timm's NaFlexViT marks methods that must not be compiled, and timm's feature extractors wrap torchvision's. All
ask when they are called, instead.
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

COMPILER, MODELS = "torch._dynamo.utils", "torchvision.models"
_compiler: Any = torch.compiler
_disable_now = _compiler.disable


class _Later(ModuleType):
    """Stands in for a module: imports it when one of these functions is called, or anything else of it asked for."""

    def __init__(self, name: str, *functions: str) -> None:
        super().__init__(name)
        vars(self).update({function: functools.partial(self._call, function) for function in functions})

    def _call(self, function: str, *args: Any, **keywords: Any) -> Any:
        return getattr(self._module(), function)(*args, **keywords)

    def _module(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._module(), name)


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
def lightly() -> Iterator[None]:
    """What is imported in the block imports the compiler and torchvision's models when it needs them."""
    stand_ins = {each.__name__: each for each in _stand_ins() if each.__name__ not in sys.modules}
    sys.modules.update(stand_ins)
    if COMPILER in stand_ins:
        _compiler.disable = _disable
    try:
        yield
    finally:
        _compiler.disable = _disable_now
        for name, each in stand_ins.items():
            if sys.modules.get(name) is each:
                del sys.modules[name]


def _stand_ins() -> list[ModuleType]:
    extractors = _Later(f"{MODELS}.feature_extraction", "create_feature_extractor", "get_graph_node_names")
    return [_Later(COMPILER, "is_compile_supported"), *([] if MODELS in sys.modules else [_Later(MODELS), extractors])]


with lightly():
    import timm as timm
    from timm.layers.conv2d_same import Conv2dSame as Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d as BatchNormAct2d
    from timm.models.efficientnet import EfficientNet as EfficientNet
