"""What a command shows: results, progress, label names in pictures."""
