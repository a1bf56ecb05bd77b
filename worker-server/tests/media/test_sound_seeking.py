"""Sound is sought in a long file without reading what is before it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from media_testing import level

from worker_server.media import FrameRange, PartEdit, plan_parts, probe
from worker_server.media.cutting.progress import ProgressReporter
from worker_server.media.cutting.quiet_cuts import QuietCuts
from worker_server.media.model.containers import open_source
from worker_server.media.rendering.moviepy_reader import part_sound
from worker_server.media.verifying.sound_level import level_difference_db

Make = Callable[..., Path]
SECONDS, PART_S = 80, 4
PICTURE = f"-f lavfi -i testsrc2=s=160x90:r=25:d={SECONDS},noise=alls=60:allf=t"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50"
SOUND = f"-f lavfi -i aevalsrc=exprs='0.5*sin(880*PI*t)*gt(mod(t+0.3\\,4)\\,0.4)':d={SECONDS}"
KINDS = {
    "aac": ("s.mkv", "-c:a aac"),
    "opus": ("s.webm", "-c:a libopus"),
    "indexed MP4": ("s.mp4", "-c:a aac"),
}


@pytest.fixture(scope="module", params=KINDS)
def last(request: pytest.FixtureRequest, make: Make) -> PartEdit:
    """The edit of the last part of a long source."""
    name, sound = KINDS[request.param]
    picture = X264 if name != "s.webm" else "-c:v libvpx -deadline realtime -cpu-used 8 -g 50"
    path = make(f"{PICTURE} {SOUND} {picture} -b:v 1M {sound}", name)
    source = probe(path)
    return PartEdit.of(source, path, plan_parts(source, PART_S)[-1], logo_s=0.0)


def bytes_read() -> int:
    """Return how many bytes this process has read from files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def read_for(edit: PartEdit, read: Callable[[], Any]) -> float:
    """Return the share of the source's bytes that are read for this."""
    before = bytes_read()
    read()
    return (bytes_read() - before) / edit.source.size_bytes


def test_level_check_reads_little_of_the_file(last: PartEdit, render: Callable[..., Any]) -> None:
    part = FrameRange(0, 0, 25 * PART_S, last.frame_rate)
    clip = render(last.source, last.source_path, part, logo_s=0.0).path

    def compare() -> None:
        with (
            open_source(last.source_path, last.source.demuxer) as source,
            open_source(clip, "mov") as made,
        ):
            level_difference_db(source, made, last)

    assert read_for(last, compare) < 0.5


def test_silence_search_reads_little_of_the_file(last: PartEdit) -> None:
    source = last.source
    frames: list[int | None] = []

    def find() -> None:
        with open_source(last.source_path, source.demuxer) as container:
            cuts = QuietCuts(container, source, ProgressReporter())
            frames.append(cuts.find(25 * (SECONDS - 5), 25 * (SECONDS - 3)))

    assert read_for(last, find) < 0.5
    assert frames == [pytest.approx(25 * (SECONDS - 4.1), abs=3)]


def test_moviepy_reads_little_of_the_file(last: PartEdit) -> None:
    def read() -> None:
        part = replace(last, part=replace(last.part, end_frame=last.part.start_frame + 25))
        sound = part_sound(part)[4800:]
        assert float((sound**2).mean()) ** 0.5 == pytest.approx(0.5 / 2**0.5, rel=0.1)

    assert read_for(last, read) < 0.5


PICTURES = {
    "key frames apart": ("25", "-c:v libx264 -preset fast -bf 2 -g 25 -sc_threshold 0"),
    "key frames only": ("60", "-c:v libx264 -preset ultrafast -g 1"),
}


@pytest.mark.parametrize("pictures", PICTURES)
@pytest.mark.parametrize(
    "codec",
    ["aac -ar 8000", "libmp3lame -ar 22050 -b:a 24k", "libmp3lame -ar 16000 -b:a 16k", "libopus"],
)
def test_part_that_begins_at_a_key_frame_sounds_from_its_start(
    codec: str, pictures: str, make: Make, render: Callable[..., Any]
) -> None:
    """The decoder has had the sound before, as much as it needs."""
    tone = "-f lavfi -i aevalsrc=exprs='0.4*sin(880*PI*t)':s=48000:d=4"
    rate, keys = PICTURES[pictures]
    picture = f"-f lavfi -i testsrc2=s=160x90:r={rate}:d=4"
    streams = f"{picture} {tone} {keys} -pix_fmt yuv420p -ac 1 -c:a {codec}"
    path = make(streams, "s.mp4")
    source = probe(path)
    clip = render(source, path, plan_parts(source, 2)[1], logo_s=0.0)
    assert level(clip.path, 0, 0.05) == pytest.approx(level(clip.path, 0.5, 1), rel=0.1)
