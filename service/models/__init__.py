"""`handful models`: the versions of each model, and their way to the Hub and back."""
