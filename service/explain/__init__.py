"""One picture that explains the answer for one photo: where the network looked, and how stable the answer is."""
