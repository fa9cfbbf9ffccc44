"""A flow as a chart, a table or a drawing."""
