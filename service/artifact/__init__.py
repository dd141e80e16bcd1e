"""The contract between training and service: how an image is read, what a model is on disk."""
