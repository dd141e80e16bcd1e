"""A labelled folder to checked photos."""
