"""Faults injected into a running system, one at a time, and an audit of what became of its work.

`make chaos` runs it; docs/operations.md describes it. The faults are in `chaos.faults`.
"""
