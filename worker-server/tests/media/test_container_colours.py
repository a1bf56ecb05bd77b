"""Colour tags that only the container has: the coded pictures have none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Make = Callable[..., Path]
RenderAll = Callable[..., list[Any]]

BARS = "-f lavfi -i smptehdbars=s=320x180:r=25:d=0.4"
TAGS = {
    "PQ": "colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv",
    "HLG": "colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67:range=tv",
    "full range": "colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=pc",
    "another matrix": "colorspace=bt2020nc:color_primaries=bt2020:color_trc=bt709:range=tv",
}
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=4"
AV1 = "-c:v libaom-av1 -cpu-used 8 -crf 5"
UNKNOWN = "=2:".join(("colour_primaries", "transfer_characteristics", "matrix_coefficients", ""))
WITHOUT_TAGS = {
    X265: f"-bsf:v hevc_metadata={UNKNOWN}video_full_range_flag=0",
    AV1: "-bsf:v av1_metadata=color_primaries=2:transfer_characteristics=2:matrix_coefficients=2",
}
DISCONTINUITY = "-bsf:v setts=ts=TS+gt(N\\,4)*20000000"


def colours(path: Path, frame: int) -> list[list[int]]:
    """Return the colours in the middle of eight columns, of a row through the bars."""
    with av.open(str(path)) as container:
        picture = [each.to_ndarray(format="rgb24") for each in container.decode(video=0)][frame]
    width = picture.shape[1]
    return [picture[40, width * (2 * n + 1) // 16].tolist() for n in range(8)]


def shown(clips: list[Any]) -> list[list[int]]:
    return colours(clips[0].path, clips[0].edit.frames_before + 3)


@pytest.mark.parametrize(
    ("tags", "name", "codec", "options"),
    [
        ("PQ", "s.mov", X265, "-tag:v hvc1"),
        ("PQ", "normalized.mkv", X265, DISCONTINUITY),
        ("HLG", "s.mp4", AV1, ""),
        ("full range", "s.mkv", X265, ""),
        ("another matrix", "fragments.mp4", X265, "-movflags +frag_keyframe+empty_moov"),
    ],
)
def test_tags_of_the_container_alone(
    tags: str, name: str, codec: str, options: str, make: Make, render_all: RenderAll
) -> None:
    picture = f"{BARS} -vf format=yuv420p10le,setparams={TAGS[tags]} {codec}"
    expected = shown(render_all(make(picture, "tagged.mkv")))
    untagged = make(f"{picture} {WITHOUT_TAGS[codec]}", "untagged.mp4")
    path = make(f"-i {untagged} -c copy {options}", name)
    assert np.array(shown(render_all(path))) == pytest.approx(np.array(expected), abs=3)
