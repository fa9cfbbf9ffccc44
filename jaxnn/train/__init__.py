"""Training: steps, epochs, scores, and where it diverges."""
