"""The record of a flow: Δ and state of each layer, and what is known of both."""
