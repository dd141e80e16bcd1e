"""Answers without torch and timm: from an exported file, or through OpenVINO from a network that is kept."""
