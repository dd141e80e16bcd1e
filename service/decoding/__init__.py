"""Uploads are decoded in processes that can be killed: limited in time and memory, whatever the bytes are."""
