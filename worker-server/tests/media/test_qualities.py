"""The settings of each quality reach x264, which writes what it encoded with into the clip."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_server.media import PROFILES, FrameRange, Profile, Quality, probe

# x264's name of an option that ffmpeg's command line calls otherwise.
_X264_NAMES = {
    "refs": "ref",
    "subq": "subme",
    "bf": "bframes",
    "b_strategy": "b_adapt",
    "rc-lookahead": "rc_lookahead",
    "aq-mode": "aq",
}


def x264_settings(clip: Path) -> dict[str, str]:
    """Return the settings in the SEI message of the first picture."""
    written = re.search(rb"x264 - core .*? - options: ([^\0\x80]+)", clip.read_bytes())
    assert written is not None
    return dict(word.split("=", 1) for word in written[1].decode().split() if "=" in word)


@pytest.mark.parametrize("quality", Quality)
def test_settings_of_a_quality_reach_x264(
    quality: Quality, numbered: Callable[..., Path], render_all: Callable[..., list[Any]]
) -> None:
    profile = PROFILES[quality]
    (clip,) = render_all(numbered(10, "25", "s.mp4"), profile=profile)
    settings = x264_settings(clip.path)
    assert float(settings["crf"]) == profile.crf
    options = profile.options.split()
    for name, value in zip(options[::2], options[1::2], strict=True):
        assert settings[_X264_NAMES.get(name[1:], name[1:])].split(":")[0] == value, name


@pytest.mark.parametrize("quality", Quality)
def test_edges_of_a_copied_part_have_each_quality(
    quality: Quality, numbered: Callable[..., Path], copy: Callable[..., Any]
) -> None:
    """Edges refer to no more frames than the source's decoder holds: here to one."""
    tags = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
    path = numbered(100, "25", "s.mp4", f"-bf 0 -refs 1 -g 12 {tags}")
    source = probe(path)
    part = FrameRange(0, 20, 75, source.frame_rate)
    assert copy(source, path, part, profile=PROFILES[quality]).numbers() == list(range(20, 75))


def test_options_follow_the_preset_and_rate() -> None:
    assert Profile("slow", 23.5, 1, "-refs 2 -psy 0").encoder_arguments == [
        *("-preset", "slow", "-crf", "23.5", "-refs", "2", "-psy", "0")
    ]
