"""The contract between training and service: how an image is read, and what a model is on disk."""
