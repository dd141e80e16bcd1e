"""The whole network trained end to end, from the pretrained weights and the trained head.

First the head, then everything (Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
out-of-distribution"): a random head would first pull the backbone to pieces. The result is judged on the folds of the
frozen head, and kept only where it is better beyond noise. What was tried stands in training/LOG.md.
"""
