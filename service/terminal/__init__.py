"""What a command shows: its result, its progress, names of labels in pictures."""
