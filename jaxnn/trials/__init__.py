"""Trials of changes: what makes a program learn that does not names the cause."""
