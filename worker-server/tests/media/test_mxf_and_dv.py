"""MXF of broadcast cameras, and DV as it comes from tapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import click_times, read_numbers, refused

from worker_server.media import Preparation, Source, probe

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=2"
LONG_GOP = "-c:v mpeg2video -q:v 2 -bf 2 -g 12 -pix_fmt yuv422p"
KINDS = {
    "xdcam": ("s.mxf", "25", (320, 180), LONG_GOP),
    "h264": ("s.mxf", "25", (320, 180), "-c:v libx264 -preset ultrafast -bf 2 -crf 10"),
    "prores": ("s.mxf", "25", (320, 180), "-c:v prores_ks -pix_fmt yuv422p10le"),
    "pal": ("s.dv", "25", (720, 576), "-c:v dvvideo -pix_fmt yuv420p -ac 2"),
    "ntsc": ("s.dv", "30000/1001", (720, 480), "-c:v dvvideo -pix_fmt yuv411p -ac 2"),
}


@pytest.fixture(scope="module")
def recorded(make: Make, numbered: Make) -> Callable[[str], Path]:
    """Make a file of 50 numbered pictures with a click a second."""

    def run(kind: str) -> Path:
        name, rate, size, options = KINDS[kind]
        lossless = "-c:v ffv1 -pix_fmt gray"
        picture = numbered(50, rate, "picture.mkv", lossless, size=size, sound=False)
        streams = f"-i {picture} {CLICKS} -map 0:v -map 1:a {options} -c:a pcm_s16le"
        # DV has sound in each picture: with too little of it the last picture is not written.
        return make(streams, name, *(["-shortest"] if name == "s.mxf" else []))

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_and_the_sound_in_place(
    kind: str, recorded: Callable[[str], Path], prepared: Prepared
) -> None:
    source, path = prepared(recorded(kind))
    assert (source.frame_count, source.interlaced) == (50, kind in ("pal", "ntsc"))
    assert read_numbers(path) == list(range(50))
    assert click_times(path)[:2] == pytest.approx([0.1, 1.1], abs=0.002)


@pytest.mark.parametrize("kind", ["xdcam", "pal"])
def test_clips_from_key_frames_on(
    kind: str,
    recorded: Callable[[str], Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    assert joined_numbers(render_all(recorded(kind))) == list(range(50))


@pytest.mark.parametrize("streams", ["", "-map 0:v"])
def test_an_mxf_that_was_cut_off_is_found_out(
    streams: str, recorded: Callable[[str], Path], make: Make, tmp_path: Path
) -> None:
    whole = make(f"-i {recorded('prores')} -c copy {streams}", "s.mxf").read_bytes()
    path = tmp_path / "cut.mxf"
    path.write_bytes(whole[: len(whole) // 4])
    assert refused(path) == "source_damaged"


@pytest.mark.parametrize("kind", ["xdcam", "pal"])
def test_what_was_recorded_before_the_power_failed(
    kind: str, recorded: Callable[[str], Path], prepared: Prepared, tmp_path: Path
) -> None:
    whole = recorded(kind).read_bytes()
    # The header of a recording that goes on is open and incomplete.
    begun = whole.replace(bytes.fromhex("0D010201010204"), bytes.fromhex("0D010201010201"), 1)
    path = tmp_path / KINDS[kind][0]
    path.write_bytes(begun[: len(begun) * 6 // 10])
    numbers = read_numbers(prepared(path)[1])
    assert len(numbers) > 20
    assert numbers[:20] == list(range(20))


def test_an_mxf_that_begins_after_other_bytes(
    recorded: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "s.mxf"
    path.write_bytes(bytes(5000) + recorded("xdcam").read_bytes())
    source = probe(path)
    assert (source.demuxer, source.frame_count) == ("mxf", 50)
    assert source.preparation is Preparation.REMUX
