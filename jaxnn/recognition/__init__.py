"""Recognition of attention, routers and skips in the graph of a layer's steps."""
