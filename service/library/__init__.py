"""The photo library: the labelled photos that the page keeps for a model, as files in plain folders."""
