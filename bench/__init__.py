"""Benchmarks of speed and memory, against what one would write by hand; see README.md."""
