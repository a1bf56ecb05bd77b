"""The arguments that hold memory down where frames are large."""

from dataclasses import replace
from pathlib import Path

import pytest

from worker_server.media import FrameRange, PartEdit, Profile, Source, plan_parts
from worker_server.media.rendering.ffmpeg import FfmpegRenderer

_MANY = Profile("slow", 20, 16)


def arguments(
    source: Source, width: int, height: int, profile: Profile, max_width: int = 4096
) -> list[str]:
    """Return the command for the first part of a source of this size."""
    sized = replace(source, width=width, height=height)
    part: FrameRange = plan_parts(sized)[0]
    edit = PartEdit.of(sized, Path("/source"), part, profile=profile, max_width=max_width)
    return FfmpegRenderer("ffmpeg").command(edit, Path("/clip.mp4"))


def threads(command: list[str]) -> tuple[str, str]:
    """Return the numbers of threads of the decoder and of the encoder."""
    places = [place for place, word in enumerate(command) if word == "-threads"]
    before, after = (command[place + 1] for place in places)
    return before, after


@pytest.mark.parametrize("size", [(3840, 2160), (2160, 3840), (4096, 4096)])
def test_a_large_source_gets_few_decoder_threads(
    size: tuple[int, int], plain_source: Source
) -> None:
    assert threads(arguments(plain_source, *size, _MANY, max_width=1920)) == ("2", "16")
    assert threads(arguments(plain_source, *size, replace(_MANY, threads=1), max_width=1920)) == (
        "1",
        "1",
    )


def test_a_large_clip_gets_few_encoder_threads_and_a_short_lookahead(plain_source: Source) -> None:
    large = arguments(plain_source, 3840, 2160, _MANY)
    assert threads(large) == ("2", "2")
    assert large[large.index("-rc-lookahead") + 1] == "10"
    # Zero would leave the number to ffmpeg, which takes one and a half for each core.
    assert threads(arguments(plain_source, 3840, 2160, replace(_MANY, threads=0))) == ("2", "2")


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast"])
def test_presets_that_hardly_look_ahead_are_left_as_they_are(
    preset: str, plain_source: Source
) -> None:
    assert "-rc-lookahead" not in arguments(plain_source, 3840, 2160, Profile(preset, 20, 16))


def test_1080p_is_left_as_it_is(plain_source: Source) -> None:
    command = arguments(plain_source, 1920, 1080, _MANY)
    assert threads(command) == ("16", "16")
    assert "-rc-lookahead" not in command
