"""Embeddings with labels -> a head, its temperature and its unknown detector."""
