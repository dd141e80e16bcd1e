"""The champion in memory, and how requests are answered by it."""
