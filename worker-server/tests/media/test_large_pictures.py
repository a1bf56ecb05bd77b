"""Pictures larger than 4K, as action cameras and phones record them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers, some_slow

from worker_server.jobs.large_picture_lock import one_at_a_time
from worker_server.media import PrepareWatch, Source, Stopped, plan_parts, prepare, probe
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


def test_large_pictures_are_decoded_for_one_part_at_a_time(numbered: Make, tmp_path: Path) -> None:
    small = probe(numbered(4, "25", "s.mp4", X264))
    large = replace(small, width=7680, height=4320)
    answers = [False, True]

    def should_stop() -> bool:
        return answers.pop(0)

    with one_at_a_time(large, tmp_path, lambda: False):
        with one_at_a_time(small, tmp_path, lambda: True):
            pass
        with pytest.raises(Stopped), one_at_a_time(large, tmp_path, should_stop):
            pytest.fail("two at once")
    assert not answers
    with one_at_a_time(large, tmp_path, lambda: True):
        pass
