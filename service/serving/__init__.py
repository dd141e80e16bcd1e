"""The champion in memory and the way of a request through it."""
