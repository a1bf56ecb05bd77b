"""Sources with few places where decoding can begin, or with false ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from media_testing import read_numbers, some_slow

from worker_server.media import PartEdit, Source, plan_parts, probe, renderer
from worker_server.media.model.source import Preparation

Make = Callable[..., Path]
Render = Callable[..., list[Any]]

X264 = "-c:v libx264 -preset ultrafast -crf 10 -bf 0"
REFRESH = f"{X264} -g 75 -x264-params intra-refresh=1:scenecut=0"
CODECS = {
    "h.264": f"{X264} -g 60 -sc_threshold 0",
    "hevc": "-c:v libx265 -preset ultrafast"
    " -x265-params log-level=none:keyint=60:scenecut=0:crf=10",
    "mpeg-4": "-c:v mpeg4 -g 60 -bf 0 -sc_threshold 1000000000 -q:v 2",
    "vp9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 60 -crf 10 -b:v 0",
}


def all_numbers(clips: list[Any]) -> list[int]:
    return [number for clip in clips for number in clip.numbers()]


@pytest.mark.parametrize("name", ["s.ts", "s.mp4", "s.mkv"])
def test_parts_begin_while_the_picture_is_refreshed(
    name: str, numbered: Make, make: Make, render_all: Render
) -> None:
    recorded = numbered(200, "25", "recorded.ts", REFRESH)
    source = make(f"-i {recorded} -map 0 -c copy", name)
    assert all_numbers(render_all(source, part_s=4, logo_s=1)) == list(range(200))


def test_recording_begins_while_the_picture_is_refreshed(
    numbered: Make, make: Make, render_all: Render
) -> None:
    recorded = numbered(225, "25", "recorded.ts", REFRESH)
    source = make(f"-ss 2 -i {recorded} -map 0 -c copy", "s.ts")
    numbers = all_numbers(render_all(source, part_s=4, logo_s=1))
    assert numbers == list(range(numbers[0], 225))
    assert numbers[0] < 150  # the second refresh ends there


def with_false_key_frames(source: Path, output: Path) -> Path:
    """Copy the streams, with each picture marked as a key frame; MP4 then has no `stss`."""
    with av.open(str(source)) as reader, av.open(str(output), "w") as writer:
        streams = [writer.add_stream_from_template(stream) for stream in reader.streams]
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream, packet.is_keyframe = streams[packet.stream_index], True
                writer.mux(packet)
    return output


@pytest.mark.parametrize("codec", some_slow(CODECS, "vp9", "mpeg-4"))
def test_every_picture_is_called_a_key_frame(
    codec: str, numbered: Make, render_all: Render, tmp_path: Path
) -> None:
    source = with_false_key_frames(
        numbered(200, "25", "right.mp4", CODECS[codec]), tmp_path / "s.mp4"
    )
    assert b"stss" not in source.read_bytes()
    assert all_numbers(render_all(source, part_s=3, logo_s=1)) == list(range(200))


@pytest.mark.parametrize("name", ["s.mkv", "s.flv", "s.webm"])
def test_every_block_is_called_a_key_frame(
    name: str, numbered: Make, render_all: Render, tmp_path: Path
) -> None:
    options = f"{CODECS['vp9']} -c:a libopus" if name == "s.webm" else CODECS["h.264"]
    source = with_false_key_frames(numbered(200, "25", f"right-{name}", options), tmp_path / name)
    assert all_numbers(render_all(source, part_s=3, logo_s=1)) == list(range(200))


def test_second_video_stream_leaves_the_index_unsought(numbered: Make, make: Make) -> None:
    """A remuxed copy has the chosen stream alone; the file's index is that of the other one."""
    large = numbered(100, "25", "large.mp4", f"{X264} -g 40 -sc_threshold 0", size=(640, 360))
    flags = "-disposition:v:0 0 -disposition:v:1 default"
    small = numbered(100, "25", "small.mp4", f"{X264} -g 7 -sc_threshold 0", sound=False)
    source = make(f"-i {small} -i {large} -map 0:v -map 1 -c copy {flags}", "s.mkv")
    facts = probe(source)
    assert facts.preparation is Preparation.REMUX
    assert (facts.width, facts.irregular) == (640, "")


def test_key_frames_that_are_far_apart(
    numbered: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    """Else each part decodes all before it: the last one of an hour shows no frame for minutes."""
    source = numbered(1850, "60", "s.mp4", f"{X264} -g 100000 -sc_threshold 0", sound=False)
    facts, path = prepared(source)
    assert facts.preparation is Preparation.NORMALIZE
    with av.open(str(path)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
    assert len(keys) >= 1850 / 60
    assert read_numbers(path) == [number % 1024 for number in range(1850)]


def test_far_apart_in_time_alone_is_no_reason(
    numbered: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    source = numbered(100, "1", "s.mp4", f"{X264} -g 100000 -sc_threshold 0", sound=False)
    assert prepared(source)[1] == source


def test_normalized_pictures_are_not_copied(
    numbered: Make, prepared: Callable[[Path], tuple[Source, Path]], ffmpeg: str, tmp_path: Path
) -> None:
    """They would fill clips with the bytes of a nearly lossless copy, whatever the quality."""
    options = f"{CODECS['h.264']} -colorspace bt709 -color_primaries bt709 -color_trc bt709"
    right = numbered(50, "25", "right.mp4", options)
    false = with_false_key_frames(right, tmp_path / "s.mp4")

    def may_copy(path: Path) -> bool:
        source, file = prepared(path)
        [part] = plan_parts(source, 20)
        return renderer("copy", ffmpeg).can_render(PartEdit.of(source, file, part))

    assert may_copy(right)
    assert not may_copy(false)
