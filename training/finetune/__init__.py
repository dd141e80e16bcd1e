"""The whole network trained end to end, from the pretrained weights and the trained head.

First the head, then everything (Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
out-of-distribution"): the large gradients of a random head would first destroy the pretrained features. The result is
measured on the folds of the frozen head, and kept only where it is better beyond noise. training/LOG.md lists what was
tried.
"""
