"""The Jacobian between two layers of any network: its singular values, and those of attention."""
