"""Training a network on a table, and its gradient while it trains."""
