"""The web page: one file per screen, served from memory; and what only the page needs over HTTP."""
