"""Checks a clip by decoding it: the numbers in its frames are those of its part, in order."""

import hashlib
import subprocess
from functools import lru_cache

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from chaos.sources import PART_S, RATE
from idrl_testing import numbered

_WIDTH, _HEIGHT = 320, 180
_LOGO_FRAMES = RATE


def is_right(clip: bytes, sha256: str, part: int) -> bool:
    """Return whether the clip is what the API announced, and shows the frames of its part."""
    return hashlib.sha256(clip).hexdigest() == sha256 and _shows_part(clip, part)


@lru_cache(256)
def _shows_part(clip: bytes, part: int) -> bool:
    """Return whether there are exactly the frames of the part, in order, between two logos."""
    frames = _decode(clip)
    first = part * PART_S * RATE
    expected = list(range(first, first + PART_S * RATE))
    content = frames[_LOGO_FRAMES:-_LOGO_FRAMES]
    return [numbered.number_in(frame) for frame in content] == expected


def _decode(clip: bytes) -> list[NDArray[np.uint8]]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "pipe:0"]
    command += ["-an", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{_WIDTH}x{_HEIGHT}", "pipe:1"]
    done = subprocess.run(command, input=clip, capture_output=True, check=False)
    pictures = np.frombuffer(done.stdout, np.uint8)
    return list(pictures.reshape(-1, _HEIGHT, _WIDTH))
