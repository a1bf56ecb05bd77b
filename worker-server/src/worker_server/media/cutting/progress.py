"""Reports a child's progress as `run_encoder` reads it."""

from worker_server.media.process.frame_progress import report_frame

_REPORT_EVERY = 25


class ProgressReporter:
    """Counts the frames that a child moves forward; a move to an earlier time range adds none."""

    def __init__(self) -> None:
        self._at: int | None = None
        self._moved = self._reported = 0

    def reach(self, frame: int) -> None:
        """Record that the child is at this frame; report once for every 25 frames."""
        if self._at is not None:
            self._moved += max(0, frame - self._at)
        self._at = frame
        if self._moved >= self._reported + _REPORT_EVERY:
            self._reported = self._moved
            report_frame(self._reported)
