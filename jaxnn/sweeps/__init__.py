"""Sweeps: a network built at every point of a grid, and its gradient measured there."""
