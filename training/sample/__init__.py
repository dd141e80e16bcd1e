"""Generated pictures of handbags and shoes, drawn by our own code."""
