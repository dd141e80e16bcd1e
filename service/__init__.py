"""What answers: everything needed to classify an image, nothing that learns."""
