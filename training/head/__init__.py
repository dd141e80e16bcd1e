"""Embeddings with labels to a head, its temperature and its unknown detector."""
