"""Benchmarks: how fast and how large everything is, against what one would write by hand. See README.md."""
