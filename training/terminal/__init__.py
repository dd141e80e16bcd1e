"""What a person reads on the terminal while something is learned, and when it is done."""
