"""Limits that the API and the errors of failed tasks state alike."""

# Four hours in parts of one second are 14,400; overlapping segments could ask for millions.
MAX_PARTS = 20_000
