"""Brands: judging and normalizing what callers send, and previews."""
