"""Generated pictures of handbags and shoes, drawn by handful itself."""
