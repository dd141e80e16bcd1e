"""Images that come back with their right label."""
