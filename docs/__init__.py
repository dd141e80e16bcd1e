"""What is generated in README.md and docs/: tables, the output of commands, and pictures; see `__main__.py`."""
