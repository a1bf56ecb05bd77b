"""VP8 and VP9 store frames that are never shown, of which later frames take pictures.

VP8 has each in a packet of its own, and so has VP9 as early encoders wrote it: with the time of
the frame before, and a millisecond. Later ones join it to the next frame.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.bitstream import BitStreamFilterContext

from worker_server.media import Preparation, probe
from worker_server.media.probing.hidden_frames import shows_nothing

FRAMES = 75
ALT_REF = "-auto-alt-ref 1 -lag-in-frames 25 -arnr-maxframes 5 -b:v 1M -g 30"
CODECS = {"vp8": "libvpx", "vp9": "libvpx-vp9 -cpu-used 8"}


@pytest.fixture(scope="module")
def two_pass(make: Callable[..., Path], numbered: Callable[..., Path]) -> Callable[[str], Path]:
    """Encode numbered pictures with hidden frames, for which VP8 needs two passes."""

    def run(codec: str) -> Path:
        frames = numbered(FRAMES, "24000/1001", "s.mkv", "-qp 0", size=(320, 240), sound=False)
        encode = f"-i {frames} -c:v {CODECS[codec]} {ALT_REF} -passlogfile {frames}"
        make(f"{encode} -pass 1 -f null", "none")
        return make(f"{encode} -pass 2", "s.webm")

    return run


def split(path: Path, codec: str, to: Path) -> Path:
    """Store each frame in its own packet; hidden ones a millisecond after the frame before."""
    with av.open(str(path)) as source, av.open(str(to), "w", options={"fflags": "-autobsf"}) as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        name = "vp9_superframe_split" if codec == "vp9" else "null"
        filters = BitStreamFilterContext(name, stream)
        shown = -1
        for packet in source.demux(video=0):
            for frame in filters.filter(packet) if packet.size else []:
                is_hidden = shows_nothing(codec, bytes(frame))
                shown += not is_hidden
                time_s = shown * Fraction(1001, 24000)
                frame.time_base = Fraction(1, 1000)
                frame.pts = frame.dts = int(time_s * 1000) + is_hidden
                frame.stream = target
                out.mux(frame)
    return to


def joined(path: Path, to: Path) -> Path:
    """Store all packets twice, the second time with stamps that leap ahead by an hour."""
    with av.open(str(to), "w", options={"fflags": "-autobsf"}) as out:
        target = None
        for start_ms in (0, 3_600_000):
            with av.open(str(path)) as source:
                target = target or out.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = (packet.pts or 0) + start_ms
                        packet.stream = target
                        out.mux(packet)
    return to


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["s.webm", "s.mkv"])
def test_hidden_frames_have_no_place(
    codec: str,
    name: str,
    two_pass: Callable[[str], Path],
    tmp_path: Path,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    path = split(two_pass(codec), codec, tmp_path / name)
    with av.open(str(path)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert packets > FRAMES
    source = probe(path)
    assert (source.frame_rate, source.frame_count) == (Fraction(24000, 1001), FRAMES)
    assert not source.is_vfr
    assert joined_numbers(render_all(path)) == list(range(FRAMES))


def test_hidden_frames_of_vp8_in_avi_have_no_place(
    two_pass: Callable[[str], Path],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    path = make(f"-i {two_pass('vp8')} -c copy", "s.avi")
    source = probe(path)
    assert (source.frame_rate, source.frame_count) == (Fraction(24000, 1001), FRAMES)
    assert joined_numbers(render_all(path)) == list(range(FRAMES))


@pytest.mark.parametrize("codec", CODECS)
def test_hidden_frames_get_no_place_where_clocks_restart(
    codec: str,
    two_pass: Callable[[str], Path],
    tmp_path: Path,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    path = joined(split(two_pass(codec), codec, tmp_path / "once.mkv"), tmp_path / "s.mkv")
    source = probe(path)
    assert source.preparation is Preparation.NORMALIZE
    assert (source.frame_rate, source.frame_count) == (Fraction(24000, 1001), 2 * FRAMES)
    assert joined_numbers(render_all(path)) == 2 * list(range(FRAMES))
