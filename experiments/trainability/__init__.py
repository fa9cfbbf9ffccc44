"""The depth up to which a network trains, by the scale of its weights."""
