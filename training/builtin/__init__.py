"""The networks that come with the installation."""
