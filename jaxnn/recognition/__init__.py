"""What layers are: attention, routers, skips, and the graph of their steps."""
