"""compare: from pixels to fine-tuning on one folder, every rung tested on the same folds of the same photos."""
