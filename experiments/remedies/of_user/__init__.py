"""The remedies of a network of the user's own, as it is and cured."""
