"""Modules of PyTorch, measured as they are: torch makes its own backward pass."""
