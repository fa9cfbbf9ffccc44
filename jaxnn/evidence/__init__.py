"""Evidence: numbers about one concrete batch, and what experiments on them show."""
