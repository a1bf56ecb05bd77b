"""Reads numbered pictures and sound of a file with PyAV, as a player shows and plays them."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from idrl_testing.numbered import number_in
from worker_server.media import ProbeLimits, SourceError, probe

RATE = 48_000


def read_numbers(path: Path) -> list[int]:
    """Read the number in each frame."""
    with av.open(str(path)) as container:
        return [
            number_in(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            for frame in container.decode(video=0)
        ]


def decode_sound(path: Path) -> npt.NDArray[np.float32]:
    """Return both channels at 48 kHz, each sample at its place from the file's time zero on."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        first_s = float((frames[0].pts or 0) * (frames[0].time_base or 0))
        pieces = [
            piece.to_ndarray() for frame in [*frames, None] for piece in resampler.resample(frame)
        ]
    samples = np.concatenate(pieces, axis=1).astype(np.float32)
    begin = round(first_s * RATE)
    return np.pad(samples, ((0, 0), (begin, 0))) if begin > 0 else samples[:, -begin:]


def click_times(path: Path, threshold: float = 0.2) -> list[float]:
    """Return when loud sounds begin after at least a twelfth of a second of quiet, in seconds."""
    loud = np.nonzero(np.abs(decode_sound(path)).max(axis=0) > threshold)[0]
    if not len(loud):
        return []
    return [
        loud[0] / RATE,
        *(after / RATE for before, after in pairwise(loud) if after - before > RATE // 12),
    ]


def level(path: Path, begin_s: float, end_s: float) -> tuple[float, float]:
    """Return the root mean square of the left and the right channel."""
    part = decode_sound(path)[:, round(begin_s * RATE) : round(end_s * RATE)]
    left, right = np.sqrt((part**2).mean(axis=1))
    return float(left), float(right)


def with_flash_stamps(path: Path, shift_ms: Callable[[int, int], int], to: Path) -> Path:
    """Change the stamps of the tags of an FLV file (Adobe FLV 10.1, E.4.1).

    `shift_ms` gets a tag's type (8 is sound, 9 a picture) and its stamp in milliseconds.
    """
    content = bytearray(path.read_bytes())
    at = 13
    while at + 11 <= len(content):
        size = int.from_bytes(content[at + 1 : at + 4])
        stamp = int.from_bytes(bytes([content[at + 7], *content[at + 4 : at + 7]]))
        changed = (stamp + shift_ms(content[at], stamp)).to_bytes(4)
        content[at + 4 : at + 7], content[at + 7] = changed[1:], changed[0]
        at += 11 + size + 4
    to.write_bytes(content)
    return to


def some_slow(kinds: Iterable[str], *slow: str) -> list[object]:
    """Return parameters for `parametrize`; those named in `slow` are marked as slow."""
    return [pytest.param(kind, marks=pytest.mark.slow) if kind in slow else kind for kind in kinds]


def refused(path: Path, limits: ProbeLimits | None = None) -> str:
    """Return the code with which the source is refused; its message is a sentence."""
    with pytest.raises(SourceError) as caught:
        probe(path, limits=limits)
    assert caught.value.message.endswith(".")
    return caught.value.code
