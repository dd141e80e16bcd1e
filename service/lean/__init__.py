"""Answers from an exported file, on ONNX Runtime or OpenVINO: without torch and timm."""
