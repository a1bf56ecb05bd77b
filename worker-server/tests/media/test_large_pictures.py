"""Pictures larger than 4K, as action cameras and phones record them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers, some_slow

from worker_server.media import PrepareWatch, Source, plan_parts, prepare, probe
from worker_server.media.model.source import Preparation

Make = Callable[..., Path]

X264 = "-c:v libx264 -preset ultrafast -crf 20"
SIZES = {"5.3K": (5312, 2988), "8K": (7680, 4320), "8K upright": (4320, 7680)}


@pytest.mark.parametrize("kind", some_slow(SIZES, "8K", "8K upright"))
def test_large_pictures_become_clips(kind: str, numbered: Make, render: Callable[..., Any]) -> None:
    path = numbered(4, "25", "s.mp4", X264, size=SIZES[kind])
    source = probe(path)
    assert (source.width, source.height) == SIZES[kind]
    [part] = plan_parts(source)
    assert render(source, path, part, logo_s=1).numbers() == list(range(4))


def test_normalized_pictures_have_sides_of_4096_pixels_at_most(
    numbered: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """No clip is larger, and encoding a larger picture would take more memory."""
    path = numbered(4, "25", "s.mp4", X264, size=(5312, 2988))
    irregular = replace(probe(path), preparation=Preparation.NORMALIZE, irregular="a test")
    source, file = prepare(irregular, path, tmp_path / "prepared.mkv", PrepareWatch(ffmpeg))
    assert _size(source) == (4096, 2304)
    assert read_numbers(file) == list(range(4))


def _size(source: Source) -> tuple[int, int]:
    return source.width, source.height
