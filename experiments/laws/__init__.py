"""Laws of vanishing and exploding gradients, predicted and measured."""
