"""Prints a child process's progress for its parent, in the format of `ffmpeg -progress`."""

import sys


def report_frame(number: int) -> None:
    """Print the line that `run_encoder` reads; without growing numbers it reports a stall."""
    sys.stdout.write(f"frame={number}\n")
    sys.stdout.flush()
