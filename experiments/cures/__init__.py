"""Cures of gradients that vanish or explode: in theory, in three frameworks, in your network."""
