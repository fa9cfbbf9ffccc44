"""A flow as a chart or a table."""
