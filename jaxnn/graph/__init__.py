"""What a network computes: one vocabulary of steps for all frameworks, and what is read in them."""
