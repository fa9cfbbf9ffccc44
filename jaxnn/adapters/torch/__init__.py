"""PyTorch: modules measured as they are, and converted."""
