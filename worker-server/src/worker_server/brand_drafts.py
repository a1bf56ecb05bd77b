"""A brand as a caller sends it, the slot for its creation, and the types of the callbacks."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_server.models import Brand

# One per process: a form of 32 MiB, decoding and encoding need disk, memory and a core.
_slot = threading.Semaphore(1)
_WAIT_S = 5.0


class BrandsBusy(Exception):
    """Other brands are being made; try again."""


@contextmanager
def making_slot() -> Iterator[None]:
    """Hold the process's one slot for reading a form or drawing a preview; raise BrandsBusy."""
    if not _slot.acquire(timeout=_WAIT_S):
        raise BrandsBusy("Other brands are being created; try again in a moment.")
    try:
        yield
    finally:
        _slot.release()


@dataclass(frozen=True)
class BrandDraft:
    """What a caller has sent; `files` by `before`, `after` and `watermark`, in `folder`.

    `called_at` is when the call came in, by the monotonic clock.
    """

    owner_id: int
    name: str
    background: str
    durations_s: Mapping[str, float]
    watermark: dict[str, Any]
    files: Mapping[str, Path]
    folder: Path
    called_at: float


# Called with the draft and the share's folder.
Maker = Callable[[BrandDraft, Path], Brand]
# Draws the brand's preview for a shape such as `16:9`; the last argument is the share's folder.
PreviewDrawer = Callable[[Brand, str, Path], bytes]
