"""Theory of the network that was measured: the critical scale of its weights."""
