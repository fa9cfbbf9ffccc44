"""The size of a gradient against depth."""
