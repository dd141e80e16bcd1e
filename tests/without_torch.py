"""Our own commands in an interpreter in which torch, and what else a lean installation lacks, cannot be imported."""

FORBID = """
import sys
for name in ("torch", "timm", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib"):
    sys.modules[name] = None  # importing it is an ImportError
"""
WITHOUT_TORCH = f"{FORBID}\nfrom handful.__main__ import main\nmain()\n"
