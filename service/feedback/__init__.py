"""Corrected images: sent back with their right label, stored to learn from."""
