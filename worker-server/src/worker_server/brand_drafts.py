"""A brand as a caller sends it, the slots for creation and previews, the types of callbacks."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_server.models import Brand

# One each per process: a form of 32 MiB, decoding and encoding need disk, memory and a core.
# A preview takes seconds at most and 100 MiB; it must not wait for a video, which takes a minute.
_making, _drawing = threading.Semaphore(1), threading.Semaphore(1)
_WAIT_S = 5.0


class BrandsBusy(Exception):
    """Other brands are being made, or other previews drawn; try again."""


def making_slot() -> AbstractContextManager[None]:
    """Hold the process's one slot for reading a form and encoding its files; raise BrandsBusy."""
    return _acquired(_making, "Other brands are being created; try again in a moment.")


def drawing_slot() -> AbstractContextManager[None]:
    """Hold the process's one slot for drawing a preview; raise BrandsBusy."""
    return _acquired(_drawing, "Other previews are being drawn; try again in a moment.")


@contextmanager
def _acquired(slot: threading.Semaphore, message: str) -> Iterator[None]:
    if not slot.acquire(timeout=_WAIT_S):
        raise BrandsBusy(message)
    try:
        yield
    finally:
        slot.release()


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
