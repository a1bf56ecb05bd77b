"""Fragmented MP4 whose composition offsets are negative: sound in sync with its pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import click_times

from worker_server.media.model.composition import composition_shift

Make = Callable[..., Path]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=4"
FRAGMENTS = "-movflags frag_keyframe+empty_moov+negative_cts_offsets"
# Without B-frames; the first picture is one or, where B-frames refer to others, two frames late.
REORDERING = {
    "none": "-bf 0",
    "one frame": "-bf 2 -x264-params b-pyramid=none:b-adapt=0",
    "two frames": "-bf 3 -x264-params b-pyramid=normal:b-adapt=0",
}


@pytest.fixture(params=REORDERING)
def fragmented(request: pytest.FixtureRequest, numbered: Make, make: Make) -> Path:
    """A fragment a second; FLAC has no delay of its own."""
    picture = numbered(100, "25", "p.mkv", f"{X264} -g 1", sound=False)
    coding = f"{X264} {REORDERING[request.param]} -g 25 -c:a flac -strict -2 {FRAGMENTS}"
    return make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {coding}", "s.mp4")


@pytest.mark.parametrize("coding", REORDERING.values())
def test_first_pictures_are_in_the_index(
    coding: str, numbered: Make, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    """Of those libavformat has the right times, of pictures in fragments later ones."""
    picture = numbered(100, "25", "p.mkv", f"{X264} -g 1", sound=False)
    sound = f"{CLICKS} -map 0:v -map 1:a -c:a flac -strict -2"
    options = f"{X264} {coding} -g 25 -movflags frag_keyframe+negative_cts_offsets"
    [clip] = render_all(make(f"-i {picture} {sound} {options}", "s.mp4"), part_s=20, logo_s=0.0)
    assert clip.numbers() == list(range(100))
    assert click_times(clip.path) == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.01)


def test_sound_is_in_sync(fragmented: Path, render_all: Callable[..., list[Any]]) -> None:
    [clip] = render_all(fragmented, part_s=20, logo_s=1)
    assert clip.numbers() == list(range(100))
    assert [moment - 1 for moment in click_times(clip.path)] == pytest.approx(
        [0.1, 1.1, 2.1, 3.1], abs=0.01
    )


def test_sound_is_in_sync_after_a_crash_of_the_recorder(
    fragmented: Path, render_all: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """A recording that ends within a picture is normalized."""
    content = fragmented.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: content.rindex(b"mdat") + 3000])
    [clip] = render_all(cut, part_s=20, logo_s=1)
    assert clip.numbers()[:70] == list(range(70))
    assert [moment - 1 for moment in click_times(clip.path)][:3] == pytest.approx(
        [0.1, 1.1, 2.1], abs=0.01
    )


def test_offsets_are_read_again_after_the_file_was_replaced(numbered: Make, tmp_path: Path) -> None:
    coding = f"{X264} {REORDERING['one frame']} {FRAGMENTS}"
    path, made = tmp_path / "s.mp4", numbered(10, "25", "s.mp4", coding, sound=False)
    path.write_bytes(made.read_bytes())
    assert composition_shift(path, 1).ticks == 512
    path.write_bytes(b"")
    assert composition_shift(path, 1).ticks == 0
