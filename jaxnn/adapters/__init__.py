"""Adapters: networks of the user's own, taken apart into layers."""
