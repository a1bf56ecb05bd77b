"""Edit lists of MP4 and QuickTime: clips show what a player shows, with its sound."""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from media_testing import click_times, read_numbers
from mp4_testing import box, boxes

Make = Callable[..., Path]
Entries = Sequence[tuple[Fraction, Fraction | None]]  # length, and where it begins in the track

X264 = "-c:v libx264 -preset ultrafast -crf 10"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10:bframes=3:keyint=25"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=4"


def with_edits(path: Path, edits: dict[bytes, Entries], to: Path) -> Path:
    """Give the tracks of these handlers (`vide`, `soun`) edit lists (ISO/IEC 14496-12, 8.6.6).

    The times of entries count from what the one entry of ffmpeg's own list begins with.
    """
    top = dict(boxes(path.read_bytes()))
    # The index is last: no sample moves when its length changes.
    assert list(top)[-1] == b"moov"
    movie_clock = struct.unpack_from(">I", top[b"moov"], 20)[0]

    def edited(track: bytes) -> bytes:
        media = dict(boxes(track))[b"mdia"]
        parts = dict(boxes(media))
        if (entries := edits.get(parts[b"hdlr"][8:12])) is None:
            return track
        clock = struct.unpack_from(">I", parts[b"mdhd"], 12)[0]
        begin = struct.unpack_from(">i", dict(boxes(track))[b"edts"], 8 + 12)[0]
        listing = struct.pack(">II", 0, len(entries))
        for length_s, media_s in entries:
            media_time = -1 if media_s is None else begin + int(media_s * clock)
            listing += struct.pack(">IiI", int(length_s * movie_clock), media_time, 1 << 16)
        new = {**dict(boxes(track)), b"edts": box(b"elst", listing)}
        return b"".join(box(kind, content) for kind, content in new.items())

    movie = b"".join(
        box(kind, edited(content) if kind == b"trak" else content)
        for kind, content in boxes(top[b"moov"])
    )
    whole = path.read_bytes()
    to.write_bytes(whole[: -len(top[b"moov"]) - 8] + box(b"moov", movie))
    return to


def span(begin: int, frames: int) -> tuple[Fraction, Fraction]:
    return Fraction(frames, 25), Fraction(begin, 25)


BOTH = (b"vide", b"soun")
Case = tuple[str, str, dict[bytes, Entries], Sequence[int], list[float]]
EDITS: dict[str, Case] = {
    "motion jpeg and pcm in quicktime": (
        "s.mov",
        "-c:v mjpeg -q:v 3 -pix_fmt yuvj420p -c:a pcm_s16le",
        {kind: [span(13, 40)] for kind in BOTH},
        range(13, 53),
        [1.1 - 13 / 25, 2.1 - 13 / 25],
    ),
    "the middle is cut out": (
        "s.mp4",
        f"{X264} -bf 2 -g 25 -c:a aac",
        {kind: [span(0, 30), span(60, 30)] for kind in BOTH},
        [*range(30), *range(60, 90)],
        # The last begins in the second span, at 3.1 s of what is stored.
        [0.1, 1.1, 3.1 - 30 / 25],
    ),
    "a cut before a key frame": (
        "s.mov",
        f"{X264} -bf 0 -g 25 -c:a pcm_s16le",
        {kind: [span(0, 30), span(50, 30)] for kind in BOTH},
        [*range(30), *range(50, 80)],
        [0.1, 1.1, 2.1 - 20 / 25, 3.1 - 20 / 25],
    ),
    "hevc that begins within a group": (
        "s.mp4",
        f"{X265} -c:a aac",
        {kind: [span(31, 33)] for kind in BOTH},
        range(31, 64),
        [2.1 - 31 / 25],
    ),
    "the picture begins after the sound": (
        "s.mp4",
        f"{X264} -bf 2 -g 25 -c:a aac",
        {b"vide": [(Fraction(1, 2), None), span(10, 30)], b"soun": [span(0, 43)]},
        range(10, 40),
        # Time zero is the first picture's.
        [1.1 - 0.5],
    ),
}

# Of short spans most packets are those before the first picture that is shown.
SHORT_SPANS = [span(begin, 10) for begin in range(0, 100, 20)]


@pytest.mark.parametrize(("frames_between", "name"), [(2, "s.mp4"), (0, "s.mov")])
def test_no_picture_of_many_short_spans_is_lost(
    frames_between: int,
    name: str,
    numbered: Make,
    prepared: Callable[[Path], tuple[Any, Path]],
    tmp_path: Path,
) -> None:
    whole = numbered(100, "25", name, f"-bf {frames_between} -g 25 -c:a aac")
    edits: dict[bytes, Entries] = dict.fromkeys(BOTH, SHORT_SPANS)
    _, path = prepared(with_edits(whole, edits, tmp_path / name))
    shown = [number for begin in range(0, 100, 20) for number in range(begin, begin + 10)]
    # With pictures out of order libavformat puts spans up to two frames late.
    assert list(dict.fromkeys(read_numbers(path))) == shown


@pytest.mark.parametrize("kind", EDITS)
def test_clips_show_what_the_edit_list_shows(
    kind: str,
    numbered: Make,
    make: Make,
    render_all: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    name, options, edits, numbers, clicks_s = EDITS[kind]
    picture = numbered(100, "25", "p.mkv", f"{X264} -g 1", sound=False)
    whole = make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {options}", name)
    [clip] = render_all(with_edits(whole, edits, tmp_path / name), part_s=20, logo_s=1)
    assert clip.numbers() == list(numbers)
    assert [moment - 1 for moment in click_times(clip.path)] == pytest.approx(clicks_s, abs=0.03)
