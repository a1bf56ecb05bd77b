"""Sound whose channels ffmpeg does not mix: ambisonics, discrete and single channels, 5.1."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_testing import RATE, level
from mp4_testing import with_aperture

from worker_server.media import Preparation, probe

Make = Callable[..., Path]
PICTURE = "-f lavfi -i testsrc2=s=64x36:r=25:d={seconds}"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"


@pytest.mark.parametrize(
    ("layout", "name", "codec", "expected"),
    [
        ("ambisonic 1", "s.mkv", "libopus -mapping_family 2 -b:a 400k", (0.5, 0.5)),
        ("ambisonic 1", "s.webm", "libopus -mapping_family 2 -b:a 400k", (0.5, 0.5)),
        ("9C", "s.mov", "pcm_s16le", (0.5, 0.25)),
        ("11C", "s.mkv", "pcm_s24le", (0.5, 0.25)),
        ("13C", "s.mkv", "pcm_f32le", (0.5, 0.25)),
    ],
)
def test_channels_that_cannot_be_mixed(
    layout: str,
    name: str,
    codec: str,
    expected: tuple[float, float],
    make: Make,
    render_all: Callable[..., list[Any]],
) -> None:
    """The first channel is twice as loud as the second; the others have another tone."""
    count = 4 if layout.startswith("ambisonic") else int(layout[:-1])
    times = np.arange(RATE) / RATE
    tones = [np.sin(2 * np.pi * 700 * times) * each for each in (0.5, 0.25)]
    others = [np.sin(2 * np.pi * 3000 * times) * 0.5] * (count - 2)
    samples = (np.stack([*tones, *others], axis=1) * 32767).astype("<i2").tobytes()
    picture = VP9 if name == "s.webm" else X264
    streams = f"-i pipe:0 {PICTURE.format(seconds=1)} {picture} -c:a {codec}"
    read = f"-f s16le -ar {RATE} -ch_layout"
    path = make(read, name, layout, *streams.split(), stdin=samples)
    (clip,) = render_all(path)
    levels = level(clip.path, 1.2, 1.8)
    assert levels == pytest.approx([each / 2**0.5 for each in expected], rel=0.06)


@pytest.mark.parametrize(
    ("layout", "name", "codecs"),
    [
        ("mono", "unnamed.wmv", "-c:v wmv2 -c:a wmav2 -b:a 128k"),
        ("mono", "unnamed-pcm.wmv", "-c:v wmv2 -c:a pcm_s16le"),
        ("FL", "left.mov", "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le"),
        ("FR", "right.mov", "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s24be"),
    ],
)
def test_one_channel_keeps_its_level_whatever_its_layout(
    layout: str,
    name: str,
    codecs: str,
    make: Make,
    render_all: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    tone = f"-f lavfi -i aevalsrc=exprs=0.5*sin(2*PI*700*t):s={RATE}:d=1"
    sound = f"{tone} -af aformat=channel_layouts={layout}"
    path = make(f"{PICTURE.format(seconds=1)} {sound} {codecs}", name)
    if name.endswith("mov"):  # a cropped source is normalized
        path = with_aperture(path, (48, 1, 32, 1, 0, 1, 0, 1), tmp_path / name)
    (clip,) = render_all(path)
    assert level(clip.path, 1.2, 1.8) == pytest.approx((0.5 / 2**0.5,) * 2, rel=0.06)


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("plain.mkv", f"{X264} -c:a ac3 -b:a 448k"),
        ("disc.mpg", "-c:v mpeg2video -c:a ac3 -b:a 448k"),
        ("seven.wmv", "-c:v wmv2 -c:a pcm_s16le"),
        ("mixed.ogv", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus -b:a 400k"),
    ],
)
def test_the_front_keeps_its_level_in_every_container(
    name: str, codecs: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    layout, others = ("7.1", 6) if name == "seven.wmv" else ("5.1", 4)
    front = "0.5*sin(2*PI*700*t)|0.25*sin(2*PI*700*t)"
    tones = f"-f lavfi -i aevalsrc=exprs={front}{'|0' * others}:s={RATE}:d=1:c={layout}"
    (clip,) = render_all(make(f"{PICTURE.format(seconds=1)} {tones} {codecs}", name))
    expected = [each / 2**0.5 for each in (0.5, 0.25)]
    assert level(clip.path, 1.2, 1.8) == pytest.approx(expected, rel=0.06)


MIXES = {
    "usual": ("-c:a ac3", 0.595),
    "quiet": ("-c:a ac3 -center_mixlev 0.5", 0.5),
    "further levels": ("-c:a ac3 -center_mixlev 0.5 -loro_cmixlev 1.0", 1.0),
    "e-ac-3": ("-c:a eac3 -loro_cmixlev 1.0", 1.0),
    "for matrix decoders": ("-c:a eac3 -dmix_mode ltrt -ltrt_cmixlev 0.5 -loro_cmixlev 1.0", 0.5),
}


@pytest.mark.parametrize(
    ("name", "engine"), [("s.mkv", "ffmpeg"), ("s.mkv", "moviepy"), ("s.wmv", "ffmpeg")]
)
@pytest.mark.parametrize("kind", MIXES)
def test_centre_has_the_level_that_the_stream_gives(
    kind: str, name: str, engine: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    """As in a Dolby decoder, for which the sound was mastered; also where it is normalized."""
    codec, factor = MIXES[kind]
    centre = f"-f lavfi -i aevalsrc=exprs=0|0|0.5*sin(2*PI*700*t)|0|0|0:s={RATE}:d=1:c=5.1"
    streams = f"{PICTURE.format(seconds=1)} {centre} {X264} {codec} -b:a 448k"
    (clip,) = render_all(make(streams, name), engine=engine)
    expected = 0.5 * factor / 2**0.5
    assert level(clip.path, 1.2, 1.8) == pytest.approx((expected, expected), rel=0.06)


CUSTOM = {
    "film order": (
        "FL+FC+FR+SL+SR+LFE",
        {"FL": 0.4, "FC": 0.2},
        (0.4 + 0.2 / 2**0.5, 0.2 / 2**0.5),
    ),
    "right before left": ("FR+FL", {"FL": 0.4, "FR": 0.2}, (0.4, 0.2)),
    "left twice": ("FL+FL", {"FL": 0.4}, (0.4, 0.4)),
    "no loudspeaker in front": ("BL+BR", {"BL": 0.4, "BR": 0.2}, (0.4, 0.2)),
    "one side only": ("FL+LFE", {"FL": 0.4, "LFE": 0.2}, (0.4, 0.2)),
    "centre and bass": ("FC+LFE", {"FC": 0.4, "LFE": 0.2}, (0.4, 0.2)),
}


@pytest.mark.parametrize("kind", CUSTOM)
def test_loudspeakers_of_a_movie_in_any_order(
    kind: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    layout, amplitudes, expected = CUSTOM[kind]
    tone = np.sin(2 * np.pi * 700 * np.arange(RATE) / RATE)
    channels = [tone * amplitudes.get(name, 0) for name in layout.split("+")]
    samples = (np.stack(channels, axis=1) * 32767).astype("<i2").tobytes()
    streams = f"-i pipe:0 {PICTURE.format(seconds=1)} {X264} -c:a pcm_s16le"
    read = f"-f s16le -ar {RATE} -ch_layout"
    path = make(read, "s.mov", layout, *streams.split(), stdin=samples)
    (clip,) = render_all(path)
    levels = level(clip.path, 1.2, 1.8)
    assert levels == pytest.approx([each / 2**0.5 for each in expected], rel=0.06)


@pytest.mark.parametrize(
    ("name", "codecs", "preparation"),
    [
        ("camera.avi", "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le", Preparation.REMUX),
        ("old.avi", "-c:v mpeg4 -c:a adpcm_ms", Preparation.REMUX),
        ("master.mkv", f"{X264} -c:a pcm_s24le", Preparation.NONE),
        ("decoded.wmv", "-c:v wmv2 -c:a pcm_s16le", Preparation.NORMALIZE),
    ],
)
def test_two_channels_without_names_are_left_and_right(
    name: str,
    codecs: str,
    preparation: Preparation,
    make: Make,
    render_all: Callable[..., list[Any]],
) -> None:
    front = "0.5*sin(2*PI*700*t)|0.25*sin(2*PI*700*t)"
    tones = f"-f lavfi -i aevalsrc=exprs={front}:s={RATE}:d=1"
    path = make(f"{PICTURE.format(seconds=1)} {tones} {codecs}", name)
    assert probe(path).preparation is preparation
    (clip,) = render_all(path)
    expected = [each / 2**0.5 for each in (0.5, 0.25)]
    assert level(clip.path, 1.2, 1.8) == pytest.approx(expected, rel=0.06)


TRACKS = {
    "left and right": (("FL", "FR"), (0.5, 0.25)),
    "two microphones": (("mono", "mono"), (0.5, 0.5)),
    "left and right of two languages": (("FL", "FR", "FL", "FR"), (0.5, 0.25)),
    "left alone": (("FL", "mono"), (0.5, 0.5)),
    "stereo and a right one": (("stereo", "FR"), (0.5, 0.5)),
}


@pytest.mark.parametrize("kind", TRACKS)
def test_tracks_that_are_left_and_right_of_one_recording(
    kind: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    layouts, expected = TRACKS[kind]
    amplitudes = (0.5, 0.25, 0.1, 0.05)
    tones = " ".join(
        f"-f lavfi -i aevalsrc=exprs={amplitude}*sin(2*PI*700*t):s={RATE}:d=1"
        for amplitude in amplitudes[: len(layouts)]
    )
    named = " ".join(
        f"-map {number}:a -filter:a:{number - 1} {_named(layout)}"
        for number, layout in enumerate(layouts, 1)
    )
    streams = f"-map 0:v {named} {X264} -c:a pcm_s16le"
    path = make(f"{PICTURE.format(seconds=1)} {tones} {streams}", "s.mov")
    (clip,) = render_all(path)
    levels = level(clip.path, 1.2, 1.8)
    assert levels == pytest.approx([each / 2**0.5 for each in expected], rel=0.06)


def _named(layout: str) -> str:
    return "pan=stereo|c0=c0|c1=c0" if layout == "stereo" else f"aformat=channel_layouts={layout}"
