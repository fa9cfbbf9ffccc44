"""Cures of thirteen networks with default weights, next to what other packages make of them."""
