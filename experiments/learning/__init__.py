"""Tables, their splits, optimisers, measures and trained models: shared by the experiments."""
