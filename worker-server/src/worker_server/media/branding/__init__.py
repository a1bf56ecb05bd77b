"""Brands: checks and normalizes the files that callers send, and draws previews."""
