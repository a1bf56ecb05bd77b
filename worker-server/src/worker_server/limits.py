"""Limits that callers are told by the API and by a failed task alike."""

# Four hours in parts of one second are 14,400; overlapping segments could ask for millions.
MAX_PARTS = 20_000
