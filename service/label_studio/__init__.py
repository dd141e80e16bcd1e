"""The calls by which Label Studio asks a model: predictions for tasks, and annotations to learn from."""
