"""Passes: up and down the layers, and what is recorded on the way."""
