"""The computation of a network: one vocabulary of steps for all frameworks, and its readers."""
