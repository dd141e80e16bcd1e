"""Whether later photos look to a model as those that it learned: of a file of predictions, or of a service."""
