"""The command `jaxnn`, and what it shares with `experiments`."""
