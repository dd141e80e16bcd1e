"""The web page: HTML, style and one script per screen, and the calls that only a page needs."""
