"""What cures networks that people draw: each change, and what others offer, side by side."""
