"""Where a source has nothing that a cut looks for, parts end at the limit and not after it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from worker_server.media import Cut, PrepareWatch, Source, TimeRange, plan_cuts, plan_parts

Make = Callable[..., Path]
NTSC = "-f lavfi -i testsrc2=s=160x90:r=30000/1001:d=9"
MPEG2 = "-c:v mpeg2video -q:v 3 -bf 2 -g 15"


@pytest.mark.parametrize(
    ("kind", "arguments", "name", "ends"),
    [
        (Cut.SILENCE, NTSC, "without-sound.mp4", [119, 238, 270]),
        # A normalized source has a key frame each second, of which its owner knows nothing.
        (Cut.KEYFRAME, f"{NTSC} {MPEG2}", "disc.mpg", [119, 238, 270]),
        (Cut.KEYFRAME, f"{NTSC} {MPEG2} -f vob", "disc.vob", [119, 238, 270]),
        (Cut.KEYFRAME, f"{NTSC} -c:v wmv2 -g 15", "s.wmv", [119, 238, 270]),
    ],
)
def test_parts_end_at_the_limit(
    kind: Cut,
    arguments: str,
    name: str,
    ends: list[int],
    make: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
) -> None:
    """Of 4 s at 29.97 fps that is after 119 frames; exact cuts round up, to 120."""
    source, path = prepared(make(arguments, name))
    time_range, part_s = TimeRange(), Fraction(4)
    clips = plan_cuts(source, path, [time_range], part_s, kind, PrepareWatch("ffmpeg"))
    assert [clip.part.end_frame for clip in clips] == ends
    assert plan_parts(source, part_s)[0].end_frame == 120
