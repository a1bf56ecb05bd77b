"""Tells the parent of a child process how far the child has come, in ffmpeg's progress lines."""

import sys


def report_frame(number: int) -> None:
    """Print the line that `run_encoder` reads, and so prove that the child still works."""
    sys.stdout.write(f"frame={number}\n")
    sys.stdout.flush()
