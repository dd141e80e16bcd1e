"""`handful retrain`: new photos on top of what the champion knows."""
