"""Networks that packages on the index ship, measured as they are."""
