"""Pieces whose clocks are in another order than the pieces themselves play without a gap."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers

from worker_server.media import Source

Make = Callable[..., Path]

CODECS = {
    "ts": "-c:v libx264 -preset ultrafast -crf 10 -bf 2 -c:a aac",
    "vob": "-c:v mpeg2video -q:v 2 -bf 2 -c:a ac3",
    "mpg": "-c:v mpeg2video -q:v 2 -bf 2 -c:a mp2",
}
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=1"


@pytest.mark.parametrize(
    ("suffix", "starts_s"),
    [
        ("ts", [0, 1, 20, 21, 2, 3]),  # as where HLS segments are joined in the order of names
        ("ts", [3600, 7200, 5000]),
        ("vob", [3600, 0, 50_000]),
        ("mpg", [0, 40, 20]),
    ],
)
def test_a_gap_is_not_filled_with_a_piece_that_comes_later(
    suffix: str,
    starts_s: Sequence[int],
    numbered: Callable[..., Path],
    make: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    joined = tmp_path / f"joined.{suffix}"
    with joined.open("wb") as file:
        for number, start_s in enumerate(starts_s):
            picture = numbered(25, "25", "p.mkv", sound=False, first=25 * number)
            options = f"{CODECS[suffix]} -g 25 -output_ts_offset {start_s}"
            piece = make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {options}", f"p.{suffix}")
            file.write(piece.read_bytes())
    source, path = prepared(joined)
    assert source.frame_rate == 25
    assert read_numbers(path) == list(range(25 * len(starts_s)))
    expected = [number + 0.1 for number in range(len(starts_s))]
    assert click_times(path) == pytest.approx(expected, abs=0.035)


def test_a_gap_in_which_sound_continues_is_kept(
    numbered: Callable[..., Path], make: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    whole = numbered(350, "25", "p.ts", f"{CODECS['ts']} -g 25")
    gap = make(f"-i {whole} -c copy -bsf:v noise=drop=between(n\\,25\\,324)", "gap.ts")
    source, path = prepared(gap)
    assert source.frame_count == 350
    assert read_numbers(path) == [*range(25), *[24] * 300, *range(325, 350)]
