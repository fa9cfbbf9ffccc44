"""The gradient of a network that the user's own code makes."""
