"""Where reading of a part begins: as near to its first frame as the container allows."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from worker_server.media import PartEdit, Profile, Source, plan_parts, probe
from worker_server.media.rendering.ffmpeg import FfmpegRenderer

SMALL = (
    "-f lavfi -i testsrc2=s=320x180:r=25:d=4"
    " -c:v libx264 -preset ultrafast -pix_fmt yuv420p -sc_threshold 0"
)
EARLY = Fraction(2, 25)


@pytest.fixture
def long_video(plain_source: Source) -> Source:
    """A minute at 25 frames a second."""
    return replace(
        plain_source,
        duration_s=Fraction(60),
        frame_count=1500,
        packet_count=1500,
        last_pts_s=Fraction(1499, 25),
        reorder_delay_s=EARLY,
    )


def seeks(source: Source) -> list[float | None]:
    """Return for each part where reading begins, in seconds."""
    edits = [
        PartEdit.of(source, Path("/source"), part, profile=Profile()) for part in plan_parts(source)
    ]
    commands = [FfmpegRenderer("ffmpeg").command(edit, Path("/clip.mp4")) for edit in edits]
    return [float(each[each.index("-ss") + 1]) if "-ss" in each else None for each in commands]


def test_seek_is_early_by_the_reorder_delay(long_video: Source) -> None:
    assert seeks(long_video) == [None, 19.84, 39.84]


def test_seek_aims_at_a_key_frame_that_starts_the_part(long_video: Source) -> None:
    known = replace(long_video, seeks_by_pts=True, keyframe_reorder_delay_s=EARLY)
    assert seeks(known) == seeks(replace(known, has_audio=True)) == [None, 20.01, 40.01]


def test_seek_includes_pre_roll_for_sound(long_video: Source) -> None:
    known = replace(long_video, seeks_by_pts=True, keyframe_reorder_delay_s=Fraction(0))
    assert seeks(known) == [None, 20.01, 40.01]
    assert seeks(replace(known, has_audio=True)) == [None, 19.7, 39.7]


def test_seek_is_early_with_a_variable_frame_rate(long_video: Source) -> None:
    assert seeks(
        replace(long_video, seeks_by_pts=True, keyframe_reorder_delay_s=EARLY, is_vfr=True)
    ) == [
        None,
        19.84,
        39.84,
    ]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.mp4", "-bf 2 -g 20", (True, EARLY)),
        ("b.mp4", "-bf 0 -g 20", (True, 0)),
        ("one-key-frame.mp4", "-bf 2 -g 1000", (False, 0)),
        (
            "no-edit-list.mp4",
            "-bf 2 -g 20 -use_editlist 0",
            (False, 0),
        ),  # it seeks by DTS
    ],
)
def test_probe_tests_whether_seeking_finds_key_frames(
    name: str, options: str, expected: tuple[bool, Fraction], make: Callable[..., Path]
) -> None:
    source = probe(make(f"{SMALL} {options}", name))
    assert (source.seeks_by_pts, source.keyframe_reorder_delay_s) == expected
