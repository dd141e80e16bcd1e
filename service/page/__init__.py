"""The web page: its HTML, style and scripts, one script per screen; the calls that serve them, and the one for small pictures."""
