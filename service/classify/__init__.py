"""Many files to one file of predictions."""
