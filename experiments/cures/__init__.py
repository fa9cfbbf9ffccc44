"""Cures of thirteen networks with default weights, next to those of another package."""
