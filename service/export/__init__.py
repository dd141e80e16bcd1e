"""A model as one file that answers on its own."""
