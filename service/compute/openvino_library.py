"""Intel's library OpenVINO, imported without its converter."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

CONVERTER = "openvino.tools.ovc"


def is_installed() -> bool:
    """Whether the extra `openvino` is."""
    return find_spec("openvino") is not None


def import_openvino() -> Any:
    """OpenVINO without its converter, which would report every import to its maker over the network."""
    if "openvino" not in sys.modules:
        sys.modules[CONVERTER] = cast("Any", None)  # makes importing it an ImportError, which OpenVINO expects
        try:
            import_module("openvino")
        finally:
            del sys.modules[CONVERTER]
    return sys.modules["openvino"]
