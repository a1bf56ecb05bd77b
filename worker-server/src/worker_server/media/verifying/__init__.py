"""Checks finished clips, in child processes."""
