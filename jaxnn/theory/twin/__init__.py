"""The wide twin of any network: the theory of infinite width as a network of its own."""
