"""Sound in floating point: samples that are no numbers are silence, those too loud full scale."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_testing import level
from mp4_testing import with_aperture

from worker_server.media import Cut, PrepareWatch, TimeRange, plan_cuts, probe
from worker_server.media.branding.normalize import normalize_video

Make = Callable[..., Path]
RATE, SECONDS, LEVEL = 48_000, 6, 0.5 / 2**0.5
PICTURE = f"-f lavfi -i testsrc2=s=64x36:r=25:d={SECONDS} -c:v libx264 -preset ultrafast"
VALUES = {"not a number": np.nan, "infinite": np.inf, "minus infinity": -np.inf, "huge": 1e30}
VALUE = pytest.mark.parametrize("value", VALUES)
WRONG_S, QUIET_S = 3.2, 3.5


def sound_with(make: Make, value: float, name: str, options: str) -> Path:
    """Make a tone at half of full scale; ten of its samples have the value, later it pauses."""
    at_s = np.arange(SECONDS * RATE) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 440 * at_s)).astype("<f4")
    tone[(at_s >= QUIET_S) & (at_s < QUIET_S + 0.4)] = 0
    wrong = round(WRONG_S * RATE)
    tone[wrong : wrong + 10] = value
    read = f"-f f32le -ar {RATE} -ac 2 -i pipe:0 {PICTURE} -pix_fmt yuv420p"
    return make(f"{read} {options}", name, stdin=tone.repeat(2).tobytes())


def assert_tone_stays(path: Path, bumper_s: int) -> None:
    """Assert that the tone has its level well before the wrong samples, and at the end."""
    for begin_s in (1, 4.5):
        decoded = level(path, bumper_s + begin_s, bumper_s + begin_s + 1)
        assert decoded == pytest.approx((LEVEL, LEVEL), rel=0.1)


@VALUE
@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_samples_around_invalid_ones_keep_their_level(
    value: str, engine: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    path = sound_with(make, VALUES[value], "s.mkv", "-c:a pcm_f32le")
    [clip] = render_all(path, part_s=20, logo_s=1, engine=engine)
    assert_tone_stays(clip.path, 1)


@pytest.mark.parametrize("options", ["-c:a pcm_f64be", "-af pan=mono|c0=c0 -c:a pcm_f32le"])
def test_invalid_samples_in_other_codecs(
    options: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    path = sound_with(make, np.nan, "s.mov", options)
    [clip] = render_all(path, part_s=20, logo_s=1)
    assert_tone_stays(clip.path, 1)


def test_invalid_samples_of_a_normalized_source(
    make: Make, tmp_path: Path, render_all: Callable[..., list[Any]]
) -> None:
    whole = sound_with(make, np.nan, "s.mov", "-c:a pcm_f32le -ar 44100")
    path = with_aperture(whole, (60, 1, 32, 1, 0, 1, 0, 1), tmp_path / "cropped.mov")
    [clip] = render_all(path, part_s=20, logo_s=1)
    assert_tone_stays(clip.path, 1)


@VALUE
def test_silence_is_found_in_sound_with_invalid_samples(value: str, make: Make) -> None:
    path = sound_with(make, VALUES[value], "s.mkv", "-c:a pcm_f32le")
    watch = PrepareWatch("ffmpeg")
    clips = plan_cuts(probe(path), path, (TimeRange(),), Fraction(4), Cut.SILENCE, watch)
    assert clips[0].part.end_frame == pytest.approx(25 * (QUIET_S + 0.2), abs=2)


def test_invalid_samples_of_a_brand_video(make: Make, ffmpeg: str, tmp_path: Path) -> None:
    path = sound_with(make, np.nan, "brand.mov", "-c:a pcm_f32le")
    video = normalize_video(path, tmp_path / "brand.mp4", ffmpeg, "#000000")
    assert_tone_stays(video.path, 0)
