"""Faults injected into a running system, one at a time, and an audit of its work afterwards.

`make chaos` runs it; docs/operations.md describes it. The faults are in `chaos.faults`.
"""
