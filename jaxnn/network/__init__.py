"""Networks: activations, tasks, parameters and their initialisers, kinds of blocks."""
