"""MPEG-4 as DivX and Xvid pack it: a B-frame in the packet of the picture that it needs."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from media_testing import click_times

Make = Callable[..., Path]
Numbered = Callable[..., Path]

CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=3"
PICTURE, B_FRAME = b"\0\0\1\xb6", 2  # vop_start_code, vop_coding_type (ISO/IEC 14496-2, 6.2.5)
# A picture that is not coded: type, time in 25ths of a second and vop_coded (0) in bits.
NOT_CODED = PICTURE + int("0101" + "00000" + "10" + "01111", 2).to_bytes(2)
NAME = b"\0\0\1\xb2DivX503b1393p"  # user data; the last letter says that pictures are packed


def kind(picture: bytes) -> int:
    return picture[picture.index(PICTURE) + 4] >> 6


def packed(pictures: Sequence[bytes]) -> Iterator[bytes]:
    """Yield packets: two pictures in one, and none in the next."""
    for picture, following in zip(pictures, [*pictures[1:], None], strict=True):
        if following and kind(following) == B_FRAME:
            yield picture + following
        else:
            yield NOT_CODED if kind(picture) == B_FRAME else picture


def pack(path: Path, to: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(to), "w", format="avi") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        pictures = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        start = pictures[0].index(PICTURE)
        pictures[0] = pictures[0][:start] + NAME + pictures[0][start:]
        for number, data in enumerate(packed(pictures)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = video, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = kind(data) == 0
            target.mux(packet)
    return to


@pytest.mark.parametrize(
    # Copied by ffmpeg the first picture is a frame late, against which the sound is early.
    ("name", "first_click_s"),
    [("s.avi", 0.1), ("s.mp4", 0.06), ("s.mkv", 0.06)],
)
def test_packed_pictures_are_all_there(
    name: str,
    first_click_s: float,
    numbered: Numbered,
    make: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
    tmp_path: Path,
) -> None:
    options = "-c:v mpeg4 -q:v 2 -bf 1 -g 50"
    plain = numbered(75, "25", "plain.avi", options, sound=False)
    silent = pack(plain, tmp_path / "packed.avi")
    path = make(f"-fflags +genpts -i {silent} {CLICKS} -c:v copy -c:a pcm_s16le", name)
    clips = render_all(path, part_s=3)
    assert joined_numbers(clips) == list(range(75))
    clicks = [moment - 1 for moment in click_times(clips[0].path)]  # after a second of logo
    assert clicks == pytest.approx([second + first_click_s for second in range(3)], abs=0.005)
