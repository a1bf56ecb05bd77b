"""The sound of a clip is where it was in the source, and silence everywhere else."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from worker_server.media import Preparation, plan_parts, probe

Make = Callable[..., Path]
Render = Callable[..., Any]
RATE = 48_000
PICTURE = "-f lavfi -i color=c=blue:s=64x36:r=25:d={seconds}"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
# A click a tenth after each whole second, loud enough to be found after coding.
CLICKS = (
    "-f lavfi -i"
    " aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d={seconds}"
)

ENGINES = pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])


def samples_of(path: Path) -> npt.NDArray[np.float32]:
    """The samples of both channels as a player hears them, from time 0 on."""
    with av.open(str(path)) as container:
        frames = [frame for frame in container.decode(audio=0) if frame.pts is not None]
        first_pts, time_base = frames[0].pts, frames[0].time_base
        assert first_pts is not None
        assert time_base is not None
        assert first_pts <= 0
        decoded = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        return decoded[:, -round(first_pts * time_base * RATE) :].astype(np.float32)


def clicks_in(path: Path) -> list[float]:
    """When the clicks begin, in seconds from the start of the clip."""
    loud = np.nonzero(np.abs(samples_of(path)[0]) > 0.3)[0]
    return [
        loud[0] / RATE,
        *(after / RATE for before, after in pairwise(loud) if after - before > 4000),
    ]


@ENGINES
@pytest.mark.parametrize("name", ["s.mp4", "s.mkv", "s.ts"])
def test_clicks_stay_where_they_are(engine: str, name: str, make: Make, render_all: Render) -> None:
    path = make(
        f"{PICTURE.format(seconds=6)} {CLICKS.format(seconds=6)} {X264} -g 40 -bf 2 -c:a aac", name
    )
    clips = render_all(path, part_s=2, engine=engine)
    assert len(clips) == 3
    for clip in clips:
        # After one second of logo.
        assert clicks_in(clip.path) == pytest.approx([1.1, 2.1], abs=0.006)


@ENGINES
@pytest.mark.parametrize(("name", "rate"), [("s.mkv", "1/5"), ("s.ts", "1"), ("s.flv", "1")])
def test_sound_stored_before_its_pictures_is_kept(
    engine: str, name: str, rate: str, make: Make, render_all: Render
) -> None:
    # x264 looks 40 frames ahead, and the muxer waits 10 s for a picture.
    picture = f"-f lavfi -i color=c=blue:s=64x36:r={rate}:d=40"
    path = make(f"{picture} {CLICKS.format(seconds=40)} -c:v libx264 -bf 0 -g 40 -c:a aac", name)
    clips = render_all(path, part_s=20, engine=engine)
    assert len(clips) == 2
    for clip in clips:
        assert clicks_in(clip.path) == pytest.approx([n + 0.1 for n in range(1, 21)], abs=0.006)


@ENGINES
def test_a_source_without_sound_gets_silence(engine: str, make: Make, render: Render) -> None:
    path = make(f"{PICTURE.format(seconds=1)} {X264}", "mute.mp4")
    clip = render(probe(path), path, plan_parts(probe(path))[0], engine=engine)
    samples = samples_of(clip.path)
    assert samples.shape[0] == 2
    assert abs(samples.shape[1] - 3 * RATE) <= 1024
    assert np.abs(samples).max() < 0.001


@ENGINES
def test_the_logo_is_silent(engine: str, make: Make, render: Render) -> None:
    path = make(
        f"{PICTURE.format(seconds=2)} -f lavfi -i sine=f=700:d=2 {X264} -c:a aac", "tone.mp4"
    )
    clip = render(probe(path), path, plan_parts(probe(path))[0], engine=engine)
    samples = np.abs(samples_of(clip.path))
    # A codec smears an edge over one of its blocks.
    assert samples[:, : RATE - 1024].max() < 0.002
    assert samples[:, 3 * RATE + 1024 : 4 * RATE].max() < 0.002
    assert samples[:, RATE + 1024 : 3 * RATE - 1024].max() > 0.08


@ENGINES
@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        ("-itsoffset 0.7 " + CLICKS.format(seconds=1.3), [1.8, 2.8]),  # begins late
        (CLICKS.format(seconds=0.5), [1.1]),  # ends early: the second part has none
    ],
)
def test_sound_and_picture_of_different_length(
    engine: str, sound: str, expected: list[float], make: Make, render_all: Render
) -> None:
    path = make(f"{PICTURE.format(seconds=4)} {sound} {X264} -c:a aac", "apart.mkv")
    first, second = render_all(path, part_s=2, engine=engine)
    assert clicks_in(first.path) == pytest.approx(expected, abs=0.006)
    if expected == [1.1]:
        assert np.abs(samples_of(second.path)).max() < 0.001


@ENGINES
def test_sound_that_continues_keeps_the_last_picture(
    engine: str, make: Make, render_all: Render
) -> None:
    sound = CLICKS.format(seconds=9)
    path = make(f"{PICTURE.format(seconds=3)} {sound} {X264} -c:a aac", "apart.mkv")
    clips = render_all(path, part_s=2, engine=engine)
    assert [clip.edit.part.frame_count for clip in clips] == [50, 50, 50, 50, 25]
    for clip in clips:
        expected = [1.1, 2.1][: clip.edit.part.frame_count // 25]
        assert clicks_in(clip.path) == pytest.approx(expected, abs=0.006)


@ENGINES
def test_a_gap_in_the_sound_stays_a_gap(engine: str, make: Make, render: Render) -> None:
    drop = "-bsf:a noise=drop='between(n\\,25\\,68)'"
    path = make(
        f"{PICTURE.format(seconds=3)} {CLICKS.format(seconds=3)} {X264} -c:a aac {drop}", "gap.mkv"
    )
    clip = render(probe(path), path, plan_parts(probe(path))[0], engine=engine)
    assert clicks_in(clip.path) == pytest.approx([1.1, 3.1], abs=0.006)


@ENGINES
@pytest.mark.parametrize("name", ["lost.mp4", "lost.mkv", "lost.ts"])
@pytest.mark.parametrize("lost", ["between(n\\,60\\,61)", "eq(n\\,55)+eq(n\\,70)+eq(n\\,85)"])
def test_sound_after_a_few_lost_packets_is_in_place(
    engine: str, name: str, lost: str, make: Make, render_all: Render
) -> None:
    """A frame lasts 40 ms here, and a packet of sound 21."""
    whole = make(
        f"{PICTURE.format(seconds=4)} {CLICKS.format(seconds=4)} {X264} -c:a aac", "whole.mp4"
    )
    path = make(f"-i {whole} -c copy -bsf:a noise=drop='{lost}'", name)
    (clip,) = render_all(path, part_s=20, engine=engine)
    assert clicks_in(clip.path) == pytest.approx([1.1, 2.1, 3.1, 4.1], abs=0.03)


@ENGINES
@pytest.mark.parametrize("layout", ["mono", "5.1"])
def test_any_layout_becomes_stereo(engine: str, layout: str, make: Make, render: Render) -> None:
    tone = f"-f lavfi -i sine=f=700:r=44100:d=1,aformat=channel_layouts={layout}"
    path = make(f"{PICTURE.format(seconds=1)} {tone} {X264} -c:a aac", "layout.mp4")
    clip = render(probe(path), path, plan_parts(probe(path))[0], engine=engine)
    decoded = samples_of(clip.path)[:, RATE + 2000 : 2 * RATE - 2000]
    assert decoded.shape[0] == 2
    assert np.abs(decoded).max() > 0.02


def test_the_first_sound_is_taken_and_subtitles_are_left(
    make: Make, render: Render, tmp_path: Path
) -> None:
    titles = tmp_path / "titles.srt"
    titles.write_text("1\n00:00:00,000 --> 00:00:01,000\nsecret\n")
    tones = "-f lavfi -i sine=f=500:d=1 -f lavfi -i sine=f=2000:d=1"
    streams = "-map 0 -map 1 -map 2 -map 3 -c:a aac -c:s srt"
    path = make(f"{PICTURE.format(seconds=1)} {tones} -i {titles} {streams} {X264}", "many.mkv")
    source = probe(path)
    assert source.preparation is Preparation.NONE
    clip = render(source, path, plan_parts(source)[0])
    spectrum = np.abs(np.fft.rfft(samples_of(clip.path)[0, RATE + 2000 : RATE + 26_000]))
    assert spectrum.argmax() * RATE / 24_000 == pytest.approx(500, abs=5)


# The amplitude of a tone in one channel, and what a player hears of it in both.
MONO = {
    "aac in mp4": ("s.mp4", "-ac 1 -c:a aac -b:a 128k"),
    "pcm in matroska": ("s.mkv", "-ac 1 -c:a pcm_s16le"),
    "opus in webm's container": ("s.mkv", "-ac 1 -c:a libopus"),
    "eight kilohertz in avi": ("s.avi", "-ac 1 -ar 8000 -c:a pcm_s16le"),
}


@ENGINES
@pytest.mark.parametrize("kind", MONO)
def test_mono_keeps_its_level_in_both_channels(
    engine: str, kind: str, make: Make, render_all: Render
) -> None:
    name, options = MONO[kind]
    tone = "-f lavfi -i aevalsrc=exprs=0.5*sin(2*PI*440*t):s=48000:d=1"
    path = make(f"{PICTURE.format(seconds=1)} {tone} {X264} {options}", name)
    [clip] = render_all(path, engine=engine)
    decoded = samples_of(clip.path)[:, RATE + 4800 : 2 * RATE - 4800]
    levels_db = 20 * np.log10(np.abs(decoded).max(axis=1) / 0.5)
    assert np.abs(levels_db).max() < 0.4
    assert np.abs(decoded[0] - decoded[1]).max() < 0.01


@ENGINES
def test_stereo_keeps_each_channel_s_level(engine: str, make: Make, render_all: Render) -> None:
    tones = "-f lavfi -i aevalsrc=exprs=0.5*sin(2*PI*440*t)|0.25*sin(2*PI*440*t):s=48000:d=1"
    path = make(f"{PICTURE.format(seconds=1)} {tones} {X264} -c:a pcm_s16le", "s.mkv")
    [clip] = render_all(path, engine=engine)
    decoded = np.abs(samples_of(clip.path)[:, RATE + 4800 : 2 * RATE - 4800]).max(axis=1)
    assert decoded == pytest.approx([0.5, 0.25], rel=0.05)
