"""How far a child has come, as `run_encoder` reads it."""

import sys

_TOLD_EVERY = 25


class Progress:
    """Tells how many frames the child has gone forward; back to an earlier stretch is no way."""

    def __init__(self) -> None:
        self._at: int | None = None
        self._gone = self._told = 0

    def reach(self, frame: int) -> None:
        """Tell that the child is at this frame, once for every 25 frames."""
        if self._at is not None:
            self._gone += max(0, frame - self._at)
        self._at = frame
        if self._gone >= self._told + _TOLD_EVERY:
            self._told = self._gone
            sys.stdout.write(f"frame={self._told}\n")
            sys.stdout.flush()
