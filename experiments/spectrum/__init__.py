"""How the singular values of the input-output Jacobian are spread."""
