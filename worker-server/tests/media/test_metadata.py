"""Metadata of a source's pictures that does not describe its clips is not in them."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from mp4_testing import box, with_entry_box

from worker_server.media import plan_parts
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


def caption(number: int) -> bytes:
    """Return an SEI unit with two bytes of a caption, after its length (ATSC A/53-4, 6.2.3).

    The first ones load a caption and show it (CEA-608: RCL, row 15, "Hi", EOC); others are empty.
    """
    codes = (
        b"\x94\x20",
        b"\x94\x20",
        b"\x94\x70",
        b"\x94\x70",
        b"\xc8\xe9",
        b"\x94\x2f",
        b"\x94\x2f",
    )
    code = codes[number] if number < len(codes) else b"\x80\x80"
    payload = b"\xb5\x00\x31GA94\x03\x41\xff\xfc" + code + b"\xff"
    unit = bytes([6, 4, len(payload)]) + payload + b"\x80"
    return len(unit).to_bytes(4) + unit


def with_captions(path: Path, to: Path) -> Path:
    """Copy an H.264 file, with a part of a caption before each picture."""
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                assert packet.pts is not None
                number = round(packet.pts * packet.time_base * 25)
                copied = av.Packet(caption(number) + bytes(packet))
                copied.stream, copied.time_base = stream, packet.time_base
                copied.pts, copied.dts, copied.duration = packet.pts, packet.dts, packet.duration
                copied.is_keyframe = packet.is_keyframe
                target.mux(copied)
    return to


@pytest.mark.parametrize("name", ["copied.mp4", "encoded.mp4", "normalized.mkv"])
def test_captions_are_in_no_clip(
    name: str,
    make: Callable[..., Path],
    prepared: Callable[[Path], Any],
    copy: Callable[..., Any],
    render: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Copied pictures have none; in encoded ones the last would stay on screen over the logo."""
    tags = "colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    picture = f"-f lavfi -i testsrc2=s=320x180:r=25:d=4,setparams={tags} {X264} -g 30"
    path = with_captions(make(picture, "plain.mp4"), tmp_path / "captions.mp4")
    if name.startswith("normalized"):
        path = make(f"-i {path} -c copy -bsf:v setts=ts=TS+gt(N\\,50)*20000000", name)
    assert "A53_CC" in side_data_in(path)
    source, ready = prepared(path)
    for part in plan_parts(source, 2):
        made = copy if name.startswith("copied") else render
        assert "A53_CC" not in side_data_in(made(source, ready, part).path)


def side_data_in(path: Path) -> set[str]:
    """Return the types of side data of all frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return {each.type.name for frame in frames for each in side_data_of(frame)}
