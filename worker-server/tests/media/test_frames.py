"""Every frame of the source is in exactly one part, whatever the container and the engine."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers

SOURCES = {
    "mp4": ("30", "s.mp4", "-bf 2 -g 40"),
    "key frames where parts begin": ("25", "s.mp4", "-bf 2 -g 50 -sc_threshold 0"),
    "the same in open groups": ("25", "s.mp4", "-bf 3 -g 25 -x264-params open-gop=1:scenecut=0"),
    "the same without B-frames": ("25", "s.mp4", "-bf 0 -g 50 -sc_threshold 0"),
    "the same in hevc": (
        "25",
        "s.mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none -g 25 -tag:v hvc1",
    ),
    "the same, times rounded": (
        "30000/1001",
        "s.mp4",
        "-bf 2 -g 60 -sc_threshold 0 -video_track_timescale 600",
    ),
    "ntsc": ("30000/1001", "s.mp4", "-bf 2 -g 300"),
    "stored seconds before they are shown": (
        "4",
        "s.mp4",
        "-bf 8 -g 12 -x264-params b-adapt=0:b-pyramid=normal",
    ),
    "the same in fragments": (
        "4",
        "s.mp4",
        "-bf 8 -g 12 -x264-params b-adapt=0 -movflags +frag_keyframe+empty_moov",
    ),
    "the same in matroska": ("4", "s.mkv", "-bf 8 -g 12 -x264-params b-adapt=0"),
    "24 fps in matroska": ("24000/1001", "s.mkv", "-bf 3 -g 250"),
    "open groups of pictures": ("25", "s.mkv", "-bf 3 -g 20 -x264-params open-gop=1"),
    "fragments": ("25", "s.mp4", "-g 10 -movflags +frag_keyframe+empty_moov"),
    "live webm": (
        "25",
        "s.webm",
        "-c:v libvpx -deadline realtime -b:v 1M -g 30 -c:a libopus -live 1",
    ),
    "transport stream": ("25", "s.ts", "-bf 2 -g 60"),
    "interlaced": ("25", "s.ts", "-flags +ilme+ildct -x264-params tff=1 -bf 2 -g 50"),
    "mpeg2 with open groups": ("25", "s.ts", "-c:v mpeg2video -q:v 3 -bf 2 -g 15"),
    "flash": ("25", "s.flv", "-bf 2 -g 60 -ar 44100"),
    "avi": ("25", "s.avi", "-c:v mpeg4 -q:v 3 -g 30 -c:a pcm_s16le"),
    "avi with B-frames": ("25", "s.avi", "-c:v mpeg4 -q:v 3 -bf 2 -g 30 -c:a pcm_s16le"),
    "avi with h264": ("25", "s.avi", "-bf 3 -g 50 -x264-params b-pyramid=normal -c:a pcm_s16le"),
    "hevc": (
        "25",
        "s.mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:open-gop=1 -g 30 -tag:v hvc1",
    ),
    "quicktime": ("50", "s.mov", "-bf 2"),
    "no B-frames, one key frame": ("30", "s.mp4", "-tune zerolatency -g 1000"),
}


# MoviePy's side shares the way in; these are the kinds that differ in how a frame's time is found.
BOTH_ENGINES = {
    "ntsc",
    "open groups of pictures",
    "avi with h264",
    "interlaced",
    "24 fps in matroska",
}
CASES = [(kind, "ffmpeg") for kind in SOURCES] + [
    (kind, "moviepy") for kind in SOURCES if kind in BOTH_ENGINES
]


@pytest.mark.parametrize(("kind", "engine"), CASES)
def test_each_frame_is_shown_once(
    kind: str,
    engine: str,
    numbered: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    rate, name, options = SOURCES[kind]
    frames = 105
    clips = render_all(numbered(frames, rate, name, options), part_s=2, engine=engine)
    assert len(clips) > 1
    assert joined_numbers(clips) == list(range(frames))


def test_a_lost_frame_is_shown_by_the_one_before_it(
    numbered: Callable[..., Path],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    whole = numbered(50, "25", "s.mkv", "-g 1")
    gaps = make(f"-i {whole} -c copy -bsf:v noise=drop=eq(n\\,7)+eq(n\\,30)", "gaps.mkv")
    assert joined_numbers(render_all(gaps)) == [
        6 if k == 7 else 29 if k == 30 else k for k in range(50)
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.mp4", ""),
        ("s.mkv", ""),  # stamps of milliseconds
        ("s.avi", "-c:v mjpeg -q:v 3 -c:a pcm_s16le"),
    ],
)
def test_fast_sources_are_thinned_by_a_whole_factor(
    name: str,
    options: str,
    numbered: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    clips = render_all(numbered(240, "120", name, options))
    assert clips[0].edit.frame_rate == 60
    numbers = joined_numbers(clips)
    assert len(numbers) == 120
    assert [later - earlier for earlier, later in pairwise(numbers)] == [2] * 119


@pytest.mark.parametrize("stamps", ["N/240", "trunc(N/3)/30+mod(N\\,3)/500"])
def test_a_fast_source_whose_header_gives_a_slow_rate(
    stamps: str,
    numbered: Callable[..., Path],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
) -> None:
    whole = numbered(120, "25", "s.mkv", "-bf 0 -g 250", sound=False)
    fast = make(f"-i {whole} -c copy -bsf:v setts=ts={stamps}/TB", "fast.mkv")
    numbers = [number for clip in render_all(fast, part_s=20) for number in clip.numbers()]
    assert numbers == sorted(numbers)


def test_a_fast_source_that_is_normalized_stays_in_time(
    numbered: Callable[..., Path], make: Callable[..., Path], prepared: Callable[[Path], Any]
) -> None:
    whole = numbered(240, "120", "s.mp4", "-bf 0 -g 60", sound=False)
    gap = make(f"-i {whole} -c copy -bsf:v setts=ts=TS+gt(N\\,119)*9000000", "gap.ts")
    source, path = prepared(gap)
    assert (source.frame_rate, source.frame_count) == (60, 120)
    assert read_numbers(path) == list(range(0, 240, 2))


@pytest.mark.parametrize("name", ["s.mkv", "s.mp4"])
@pytest.mark.parametrize("structure", ["b-adapt=0:b-pyramid=none", "b-adapt=1"])
def test_slow_recordings_with_pictures_out_of_order(
    structure: str, name: str, numbered: Callable[..., Path], prepared: Callable[[Path], Any]
) -> None:
    """Decoding runs ahead of showing by more than ten seconds."""
    encode = f"-c:v libx264 -preset medium -x264-params bframes=3:{structure}"
    source, _ = prepared(numbered(8, "1/5", name, encode, sound=False))
    assert source.irregular == ""
    assert source.duration_s == pytest.approx(40, abs=0.2)


def test_one_frame_is_a_video(
    numbered: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    clips = render_all(numbered(1, "25", "s.mp4", sound=False))
    assert [clip.edit.part.frame_count for clip in clips] == [1]
    assert joined_numbers(clips) == [0]


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_a_varying_rate_keeps_time_and_every_frame(
    engine: str,
    numbered: Callable[..., Path],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    even = numbered(60, "30", "s.mp4", sound=False)
    # The first second at half speed.
    filters = "setpts=if(lt(N\\,30)\\,N*2\\,N+30)/30/TB"
    varying = make(
        f"-i {even} -vf {filters} -fps_mode vfr -c:v libx264 -preset ultrafast -crf 10", "vfr.mp4"
    )
    clips = render_all(varying, engine=engine)
    assert clips[0].edit.frame_rate == 30
    assert joined_numbers(clips) == [k // 2 if k < 60 else k - 30 for k in range(90)]


@pytest.mark.parametrize("name", ["s.mp4", "s.mov", "s.mkv"])
@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_a_short_last_frame_is_shown(
    engine: str,
    name: str,
    numbered: Callable[..., Path],
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    # An edit that ends within a frame leaves a part of that frame's duration.
    short = "-bsf:v setts=duration=if(eq(N\\,49)\\,20\\,DURATION)"
    whole = numbered(50, "25", "whole.mp4", "-bf 0 -g 20")
    clips = render_all(make(f"-i {whole} -c copy {short}", name), engine=engine)
    assert joined_numbers(clips) == list(range(50))


@pytest.mark.parametrize(("name", "rate"), [("s.ts", "1/12"), ("s.mkv", "1/90")])
def test_slow_pictures_stay_in_sync_with_their_sound(
    name: str, rate: str, numbered: Callable[..., Path], prepared: Callable[[Path], Any]
) -> None:
    """Slides of a lecture, with reordered pictures, where remuxing is not enough."""
    encode = "-c:v libx264 -preset medium -bf 3 -x264-params b-adapt=0"
    source, path = prepared(numbered(8, rate, name, encode))
    step = Fraction(rate).denominator
    assert source.frame_count == 8 * step
    assert read_numbers(path) == [number for number in range(8) for _ in range(step)]
