"""Stamps that go back a little now and then do not move what comes after them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers, with_flash_stamps

from worker_server.media import Source

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25 -bf 0"
CLICKS = (
    "-f lavfi -i"
    " aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=44100:d={seconds}"
)
SECONDS = 8
SOUND, PICTURE = 8, 9  # types of FLV's tags


@pytest.fixture
def recording(numbered: Make, make: Make) -> Make:
    """Make a source of eight seconds with numbered pictures, and a click in each second."""

    def run(name: str, options: str = "") -> Path:
        picture = numbered(25 * SECONDS, "25", "picture.mkv", X264, sound=False)
        streams = f"-i {picture} {CLICKS.format(seconds=SECONDS)} -map 0 -map 1"
        return make(f"{streams} -c:v copy -c:a aac {options}", name)

    return run


def assert_in_place(source: Source, path: Path) -> None:
    assert source.frame_rate == 25
    assert read_numbers(path) == list(range(25 * SECONDS))
    moments = [second + 0.1 for second in range(SECONDS)]
    assert click_times(path) == pytest.approx(moments, abs=0.04)


@pytest.mark.parametrize("sound", ["aac", "libmp3lame", "mp2"])
def test_sound_of_segments_that_were_encoded_one_by_one(
    sound: str, numbered: Make, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """What a codec puts before its first samples is beside the end of the segment before."""
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for second in range(SECONDS):
            picture = numbered(25, "25", "p.mkv", X264, sound=False, first=25 * second)
            streams = f"-i {picture} {CLICKS.format(seconds=1)} -map 0 -map 1 -c:v copy"
            options = f"-c:a {sound} -output_ts_offset {second}"
            file.write(make(f"{streams} {options}", "segment.ts").read_bytes())
    assert_in_place(*prepared(joined))


@pytest.mark.parametrize("late_ms", [60, 200, 5000, 60_000])
@pytest.mark.parametrize("kind", [SOUND, PICTURE])
def test_one_late_stamp_in_flash_video(
    kind: int, late_ms: int, recording: Make, prepared: Prepared, tmp_path: Path
) -> None:
    done: list[int] = []

    def shift_ms(tag: int, stamp: int) -> int:
        if tag != kind or stamp < 2000 or done:
            return 0
        done.append(stamp)
        return late_ms

    late = with_flash_stamps(recording("s.flv"), shift_ms, tmp_path / "late.flv")
    assert_in_place(*prepared(late))


@pytest.mark.parametrize("late_ms", [200, 5000])
@pytest.mark.parametrize("stream", "av")
def test_one_late_stamp_in_matroska(
    stream: str, late_ms: int, recording: Make, make: Make, prepared: Prepared
) -> None:
    """Of pictures ffmpeg's muxer lets the clock stand still until it is past the late stamp."""
    stamps = f"setts=ts=if(eq(N\\,60)\\,TS+{late_ms}\\,TS)"
    path = make(f"-i {recording('s.mkv')} -c copy -bsf:{stream} {stamps}", "late.mkv")
    assert_in_place(*prepared(path))


@pytest.mark.parametrize("jitter_ms", [15, 20])
def test_stamps_by_the_clock_of_the_receiver(
    jitter_ms: int, recording: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """A packet of sound lasts 23 ms: stamps go back where one comes late and the next early."""
    plain = recording("s.flv")

    def shift_ms(_: int, stamp: int) -> int:
        return (stamp * 7919 % 1009) % (2 * jitter_ms + 1) - jitter_ms if stamp > 100 else 0

    source, path = prepared(with_flash_stamps(plain, shift_ms, tmp_path / "jitter.flv"))
    assert source.frame_count == pytest.approx(25 * SECONDS, abs=2)
    moments = [second + 0.1 for second in range(SECONDS)]
    assert click_times(path) == pytest.approx(moments, abs=0.07)
