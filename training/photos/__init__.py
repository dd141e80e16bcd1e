"""A labelled folder -> checked photos with embeddings."""
