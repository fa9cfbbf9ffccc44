"""The spread of the singular values of the input-output Jacobian."""
