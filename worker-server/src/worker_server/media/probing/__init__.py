"""Finds out what a source is, in child processes."""
