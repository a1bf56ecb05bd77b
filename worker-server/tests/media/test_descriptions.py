"""Files whose container describes the codec again on the way, as joined MP4 and FLV files do."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from media_testing import click_times, level
from mp4_testing import box, boxes

from worker_server.media import probe

Make = Callable[..., Path]

ULTRAFAST = "-c:v libx264 -preset ultrafast -crf 10 -g 25 -bf 0"
VERYFAST = "-c:v libx264 -preset veryfast -crf 12 -g 25 -bf 0"
MPEG4 = "-c:v mpeg4 -q:v 2 -g 25"
BT709 = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
RATE = 25


def _uint32s(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def _description(path: Path) -> bytes:
    content = path.read_bytes()
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        content = dict(boxes(content))[wanted]
    return content[8:]


def joined_mp4(paths: Sequence[Path], to: Path) -> Path:
    """Join silent files into one track with a sample description for each."""
    samples: list[bytes] = []
    keys: list[int] = []
    starts: list[int] = []
    for path in paths:
        starts.append(len(samples) + 1)
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    samples.append(bytes(packet))
                    keys += [len(samples)] if packet.is_keyframe else []
    whole = dict(boxes(paths[0].read_bytes()))
    header = box(b"ftyp", whole[b"ftyp"])
    offsets = [len(header) + 8]
    for sample in samples:
        offsets.append(offsets[-1] + len(sample))
    count = len(samples)
    chunks = [number for index, start in enumerate(starts, 1) for number in (start, 1, index)]
    clock = 1000

    def changed(kind: bytes, content: bytes) -> bytes:
        if kind in (b"moov", b"trak", b"mdia", b"minf"):
            inner = ((each, more) for each, more in boxes(content) if each != b"edts")
            return b"".join(box(each, changed(each, more)) for each, more in inner)
        if kind == b"stbl":
            described = [_description(path) for path in paths]
            return b"".join(
                (
                    box(b"stsd", _uint32s(0, len(paths)), *described),
                    box(b"stts", _uint32s(0, 1, count, clock // RATE)),
                    box(b"stss", _uint32s(0, len(keys), *keys)),
                    box(b"stsc", _uint32s(0, len(starts), *chunks)),
                    box(b"stsz", _uint32s(0, 0, count, *map(len, samples))),
                    box(b"stco", _uint32s(0, count, *offsets[:-1])),
                )
            )
        times = {b"mvhd": (12, 16), b"mdhd": (12, 16), b"tkhd": (None, 20)}
        if kind in times:
            clock_at, length_at = times[kind]
            data = bytearray(content)
            if clock_at:
                struct.pack_into(">I", data, clock_at, clock)
            struct.pack_into(">I", data, length_at, count * clock // RATE)
            return bytes(data)
        return content

    index = box(b"moov", changed(b"moov", whole[b"moov"]))
    to.write_bytes(header + box(b"mdat", *samples) + index)
    return to


@pytest.mark.parametrize(
    ("first", "second", "size"),
    [
        (ULTRAFAST, VERYFAST, (320, 180)),
        (VERYFAST, ULTRAFAST, (320, 180)),
        (ULTRAFAST, ULTRAFAST, (256, 144)),
        (ULTRAFAST, VERYFAST, (480, 270)),
        (MPEG4, f"{MPEG4} -mpeg_quant 1", (320, 180)),
        (MPEG4, MPEG4, (480, 270)),
    ],
)
def test_every_frame_of_both_descriptions(
    first: str,
    second: str,
    size: tuple[int, int],
    numbered: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
    tmp_path: Path,
) -> None:
    pieces = [
        numbered(50, "25", "p.mp4", f"{first} {BT709}", sound=False),
        numbered(50, "25", "p.mp4", f"{second} {BT709}", sound=False, first=50, size=size),
    ]
    path = joined_mp4(pieces, tmp_path / "joined.mp4")
    source = probe(path)
    assert (source.frame_rate, source.frame_count) == (25, 100)
    assert source.width == max(320, size[0])
    assert joined_numbers(render_all(path, part_s=3)) == list(range(100))


def joined_flv(paths: Sequence[Path], length_ms: int, to: Path) -> Path:
    """Join recordings as a server does that goes on after its publisher began again."""
    content = bytearray(paths[0].read_bytes())
    for number, path in enumerate(paths[1:], 1):
        piece = path.read_bytes()
        at = 13
        while at + 11 <= len(piece):
            size = int.from_bytes(piece[at + 1 : at + 4])
            stamp = int.from_bytes(bytes([piece[at + 7], *piece[at + 4 : at + 7]]))
            new = (stamp + number * length_ms).to_bytes(4)
            tag = piece[at : at + 4] + new[1:] + new[:1] + piece[at + 8 : at + 15 + size]
            content += tag if tag[0] in (8, 9) else b""  # sound and pictures
            at += 15 + size
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("size", [(320, 180), (480, 270)])
def test_flash_recording_that_was_published_again(
    size: tuple[int, int],
    numbered: Make,
    make: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
    tmp_path: Path,
) -> None:
    clicks = (
        "-f lavfi -i aevalsrc=exprs='0.5*sin(2*PI*1000*t)*lt(mod(t+0.9\\,1)\\,0.3)':s=44100:d=2"
    )
    sounds = ("-c:a aac -ar 44100 -af pan=stereo|c0=c0|c1=c0", "-c:a aac -ar 22050")
    pictures = (
        numbered(50, "25", "p.mp4", f"{ULTRAFAST} {BT709}", sound=False),
        numbered(50, "25", "p.mp4", f"{VERYFAST} {BT709}", sound=False, first=50, size=size),
    )
    pieces = [
        make(
            f"-i {picture} {clicks} -map 0:v -map 1:a -c:v copy {sound} -flvflags"
            " no_duration_filesize",
            "p.flv",
        )
        for picture, sound in zip(pictures, sounds, strict=True)
    ]
    path = joined_flv(pieces, 2000, tmp_path / "joined.flv")
    clips = render_all(path, part_s=5)
    assert joined_numbers(clips) == list(range(100))
    (clip,) = clips
    moments = [moment - 1 for moment in click_times(clip.path)]  # after the logo
    assert moments == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.06)
    before, after = (level(clip.path, 1 + at + 0.15, 1 + at + 0.35)[0] for at in (1, 3))
    assert after == pytest.approx(before, rel=0.1)
