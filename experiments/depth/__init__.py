"""How the size of a gradient changes with depth."""
