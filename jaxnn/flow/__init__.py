"""Flows: the size of a gradient layer by layer, and what it means."""
