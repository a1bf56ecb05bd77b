"""Finds out what a source is, by its packets, in a child process."""

from pathlib import Path

from worker_server.media.child import ChildFailed, ChildLimits, ChildLost, ask
from worker_server.media.errors import EncodeFailed, SourceError
from worker_server.media.sniff import sniff
from worker_server.media.source import ProbeLimits, Source

_CHILD = "worker_server.media.probe_child"
_SLOWEST_BYTES_PER_S = 5_000_000


def probe(path: Path, *, limits: ProbeLimits | None = None) -> Source:
    """Return the facts of a local file. Raise SourceError if no clips can be made of it, EncodeFailed
    (`probe_timeout`, retryable) when there was no answer in time.

    Takes as long as reading the file once; memory does not grow with its size.
    """
    limits = limits or ProbeLimits()
    question = {"path": str(path.absolute()), "demuxer": sniff(path), "limits": limits.to_json()}
    # A source that is hard to look at runs out of processor time; the deadline is for a storage that is slow or away.
    child_limits = ChildLimits(cpu_s=int(limits.timeout_s) + 1, memory_bytes=limits.memory_bytes, file_bytes=1)
    timeout_s = 2 * limits.timeout_s + path.stat().st_size / _SLOWEST_BYTES_PER_S
    try:
        answer = ask(_CHILD, question, child_limits, timeout_s)
    except ChildLost as error:
        raise EncodeFailed("probe_timeout", "Looking at the video took too long.", retryable=True) from error
    except ChildFailed as error:
        raise SourceError("source_limits", "Looking at the video took too much time or memory.") from error
    if "error" in answer:
        raise SourceError(answer["error"]["code"], answer["error"]["message"])
    return Source.from_json(answer["source"])
