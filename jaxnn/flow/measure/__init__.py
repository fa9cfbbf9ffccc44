"""The measurement of a flow, of a Network, a chain or a module of PyTorch."""
