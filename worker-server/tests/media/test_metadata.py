"""Metadata of a source's pictures that does not describe its clips is not in them."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from mp4_testing import box, with_entry_box

from worker_server.media.model.side_data import side_data_of

BARS = "-f lavfi -i smptehdbars=s=320x180:r=25:d=0.4"
PQ = "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
X265 = f"-c:v libx265 -x265-params log-level=none:max-cll=1000,400:master-display={DISPLAY}"
HDR10 = {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"


@pytest.mark.parametrize(
    ("name", "options", "kinds"),
    [
        ("s.mp4", f"-vf {PQ} {X265}", HDR10),
        ("s.mkv", f"{X264} -metadata:s:v:0 stereo_mode=left_right", {"STEREO3D"}),
    ],
    ids=["HDR10", "two views"],
)
@pytest.mark.parametrize("logo_s", [0, 1])
def test_clips_are_neither_hdr_nor_stereoscopic(
    logo_s: int,
    name: str,
    options: str,
    kinds: set[str],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    path = make(f"{BARS} {options}", name)
    if name == "s.mp4":  # as of phones (ISO/IEC 14496-12, 12.1.6)
        ambient = box(b"amve", struct.pack(">IHH", 3_140_000, 15_635, 16_450))
        path = with_entry_box(path, ambient, tmp_path / name)
    assert side_data_in(path) & kinds == kinds
    (clip,) = render_all(path, logo_s=logo_s)
    assert not side_data_in(clip.path) & kinds
    assert not [
        box for box in (b"mdcv", b"clli", b"amve", b"st3d") if box in clip.path.read_bytes()
    ]


def side_data_in(path: Path) -> set[str]:
    """Return the types of side data of all frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return {each.type.name for frame in frames for each in side_data_of(frame)}
