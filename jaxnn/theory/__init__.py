"""Theory: infinite width, and its correction for finite width."""
