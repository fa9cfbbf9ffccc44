"""The wide twin of a module of PyTorch: the module, whose products with weights are draws."""
