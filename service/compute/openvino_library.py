"""Intel's library OpenVINO, imported without its converter."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

CONVERTER = "openvino.tools.ovc"
_importing = threading.Lock()


def is_installed() -> bool:
    """Whether the extra `openvino` is."""
    return find_spec("openvino") is not None


def import_openvino() -> Any:
    """OpenVINO without its converter, which would report every import to its maker over the network."""
    with _importing:
        if "openvino" not in sys.modules:
            sys.modules[CONVERTER] = cast("Any", None)  # makes importing it an ImportError, which OpenVINO expects
            try:
                _use_once(import_module("openvino"))
            finally:
                del sys.modules[CONVERTER]
        return sys.modules["openvino"]


def _use_once(openvino: Any) -> None:
    """Takes an array and gives one: two threads that were the first to do so at once waited for ever.

    One held the lock of a C++ constant that its Python binding makes at first use, the other the interpreter's.
    """
    np.array(openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data)
