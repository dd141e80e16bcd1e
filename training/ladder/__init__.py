"""compare: from pixels to fine-tuning on one folder, every rung judged on the same folds of the same photos."""
