"""Finds out what a source is, by its packets, in a child process."""

from collections.abc import Callable
from pathlib import Path

from worker_server.media.child import Child, ChildFailed, ChildLimits, ChildLost
from worker_server.media.errors import EncodeFailed, SourceError
from worker_server.media.sniff import sniff
from worker_server.media.source import ProbeLimits, Source

_CHILD = "worker_server.media.probe_child"
_SLOWEST_BYTES_PER_S = 5_000_000


class Prober(Child):
    """A child that is ready to look at one source."""

    def __init__(self, limits: ProbeLimits) -> None:
        self._limits = limits
        # A source that is hard to look at runs out of processor time; the deadline is for a storage that is slow.
        cpu_s = int(limits.timeout_s) + 1
        super().__init__(_CHILD, ChildLimits(cpu_s=cpu_s, memory_bytes=limits.memory_bytes, file_bytes=1))

    def look(self, path: Path, should_stop: Callable[[], bool]) -> Source:
        """Return the facts of a local file.

        Raise SourceError if no clips can be made of it, EncodeFailed (`probe_timeout`, retryable) when there was no
        answer in time, Stopped. Takes as long as reading the file once; memory does not grow with its size.
        """
        question = {"path": str(path.absolute()), "demuxer": sniff(path), "limits": self._limits.to_json()}
        timeout_s = 2 * self._limits.timeout_s + path.stat().st_size / _SLOWEST_BYTES_PER_S
        try:
            answer = self.ask(question, timeout_s, should_stop)
        except ChildLost as error:
            raise EncodeFailed("probe_timeout", "Looking at the video took too long.", retryable=True) from error
        except ChildFailed as error:
            raise SourceError("source_limits", "Looking at the video took too much time or memory.") from error
        if "error" in answer:
            raise SourceError(answer["error"]["code"], answer["error"]["message"])
        return Source.from_json(answer["source"])


def probe(path: Path, *, limits: ProbeLimits | None = None, should_stop: Callable[[], bool] = lambda: False) -> Source:
    """Start a child, and have it look at the file."""
    with Prober(limits or ProbeLimits()) as prober:
        return prober.look(path, should_stop)
