"""Videos of a brand around parts of a source that has no sound there."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from media_testing import level

from worker_server.media import (
    Brand,
    Bumper,
    FrameRange,
    PartEdit,
    Profile,
    RenderWatch,
    probe,
    render,
    renderer,
)
from worker_server.media.rendering.renderers import RENDERERS

Make = Callable[..., Path]
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
FIT = f"-profile:v high -8x8dct 1 -bf 2 -g 10 {TAGS}"
# How a second of sound gets beside four of picture, and frames of a part at 25 fps without any.
SILENT = {
    "begins late": ("mp4", "-itsoffset 3 -i {sound} -c copy", (0, 50)),
    "ends early": ("mp4", "-i {sound} -c copy", (40, 90)),
    "has a gap": (
        "mkv",
        "-f lavfi -i sine=r=48000:d=4 -c:v copy -c:a flac -af aselect='lt(t,1)+gt(t,3)'",
        (40, 70),
    ),
}


@pytest.fixture(scope="session")
def intro(numbered: Make) -> Path:
    """Half a second of video with a tone."""
    return numbered(13, "25", "intro.mp4", TAGS, first=500)


@pytest.fixture(scope="session")
def source(numbered: Make, make: Make) -> Callable[[str], Path]:
    """Make a source whose sound is missing somewhere."""
    sound = make("-f lavfi -i sine=r=48000:d=1 -c:a aac", "sound.m4a")
    video = numbered(100, "25", "silent.mp4", FIT, sound=False)

    def made(kind: str) -> Path:
        ending, arguments, _ = SILENT[kind]
        return make(f"-i {video} {arguments.format(sound=sound)}", f"partly.{ending}")

    return made


@pytest.mark.parametrize("name", RENDERERS)
@pytest.mark.parametrize("kind", SILENT)
def test_bumpers_have_their_sound_and_the_part_is_silent(
    name: str,
    kind: str,
    source: Callable[[str], Path],
    intro: Path,
    ffmpeg: str,
    tmp_path: Path,
    numbers_in: Callable[[Path], list[int]],
) -> None:
    path, (start, end) = source(kind), SILENT[kind][2]
    facts, video = probe(path), Bumper(intro, Fraction(13, 25), is_video=True)
    assert facts.has_audio
    part = FrameRange(0, start, end, facts.frame_rate)
    brand, profile = Brand(video, video), Profile("ultrafast", 14, 1)
    edit = PartEdit.of(facts, path, part, brand=brand, profile=profile)
    clip = tmp_path / "clip.mp4"
    render(edit, clip, [renderer(name, ffmpeg)], RenderWatch())
    assert numbers_in(clip)[13:-13] == list(range(start, end))
    length_s = (end - start) / 25
    assert min(level(clip, 0.05, 0.47)) > 0.05
    assert max(level(clip, 0.57, 0.47 + length_s)) < 0.001
    assert min(level(clip, 0.57 + length_s, 0.99 + length_s)) > 0.05
