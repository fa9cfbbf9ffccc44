"""Rehearsal: a copy of a network in training for a few steps, watched, before the real one."""
