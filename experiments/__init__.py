"""Experiments on jaxnn, run from a checkout: python -m experiments NAME."""
