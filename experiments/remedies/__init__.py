"""Remedies against vanishing and exploding gradients, side by side."""
