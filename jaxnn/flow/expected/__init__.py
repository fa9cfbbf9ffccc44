"""Theory of the network that was measured: critical scale, correlation length, finite width."""
