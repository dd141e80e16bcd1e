"""Where the network looked, what its layers see, how firm its answer is: one picture of one photo."""
