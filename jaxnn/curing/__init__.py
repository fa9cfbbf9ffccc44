"""Cures: changes of a network, each made and measured on that network."""
