"""Programs of JAX: what steps do to axes, examples and stacks, and where they were written."""
