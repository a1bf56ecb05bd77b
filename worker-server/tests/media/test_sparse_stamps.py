"""Program streams where only some pictures have time stamps, as surveillance recorders write."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies
from media_testing import click_times, read_numbers

from worker_server.media import Source
from worker_server.media.probing.timestamps import interpolated

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=3"
CODECS = {
    "h264": "-c:v libx264 -preset ultrafast -crf 10 -g 25 -bf 2",
    "h264 without B-frames": "-c:v libx264 -preset ultrafast -crf 10 -g 50 -bf 0",
    "hevc": "-c:v libx265 -preset ultrafast -x265-params log-level=none -g 25",
}


@pytest.mark.parametrize("rate", ["25", "15", "30000/1001"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_picture_in_its_place(
    codec: str, rate: str, numbered: Make, make: Make, prepared: Prepared
) -> None:
    picture = numbered(75, rate, "s.mp4", CODECS[codec], sound=False)
    start_codes = f"-bsf:v {codec.split()[0]}_mp4toannexb"
    sound = f"-map 0:v -map 1:a -c:v copy {start_codes} -c:a mp2 -f vob"
    source, path = prepared(make(f"-i {picture} {CLICKS} {sound}", "s.mpg"))
    frames = max(75, round(3 * source.frame_rate))  # sound of 3 s
    assert (str(source.frame_rate), abs(source.frame_count - frames) < 3) == (rate, True)
    assert read_numbers(path)[:75] == list(range(75))
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1], abs=0.03)


def test_recordings_put_together(numbered: Make, prepared: Prepared, tmp_path: Path) -> None:
    options = f"{CODECS['h264']} -c:a mp2 -f vob"
    pieces = [numbered(75, "25", "p.mpg", options, first=75 * n) for n in range(2)]
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    source, path = prepared(joined)
    assert (source.frame_rate, source.frame_count) == (25, 150)
    assert read_numbers(path) == list(range(150))


@given(strategies.lists(strategies.booleans(), min_size=1), strategies.integers(1, 5000))
def test_even_times_are_found_again(known: list[bool], step: int) -> None:
    times = [1000 + step * number for number in range(len(known))]
    if sum(known) > 1:
        seen = [time if is_known else None for time, is_known in zip(times, known, strict=True)]
        assert interpolated(seen) == times
