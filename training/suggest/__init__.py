"""Which unlabelled photos to label next: `handful suggest`."""
