"""What learns: from a folder of labelled photos to an artifact."""
