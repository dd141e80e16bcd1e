"""The evaluation report: one HTML page and its pictures."""
