"""Sources and brands' videos with an alpha channel show the background where they are clear."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from worker_server.media import (
    Brand,
    FrameRange,
    PartEdit,
    Profile,
    RenderWatch,
    probe,
    render,
    renderer,
    verify_clip,
)
from worker_server.media.branding.normalize import normalize_video
from worker_server.media.model.source import Preparation, Source
from worker_server.media.probing.prepare import PrepareWatch, prepare

Make = Callable[..., Path]
Picture = np.ndarray[Any, np.dtype[np.uint8]]
INK, BACKGROUND = (220, 30, 30), "#204080"
# Opaque on the left, clear on the right, half of it between; another colour lies below.
DRAWING = (
    "-f lavfi -i color=0x1ec828:s=320x180:r=25:d=2,format=rgba"
    ",drawbox=w=160:h=180:t=fill:color=0xdc1e1e:replace=1"
    ",drawbox=x=140:w=40:h=180:t=fill:color=0xdc1e1e@0.5:replace=1"
    ",geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(gt(X,179),0,alpha(X,Y))'"
)
CODECS = {
    "qtrle": "-c:v qtrle -pix_fmt argb",
    "prores": "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le",
    "png": "-c:v png -pix_fmt rgba",
    "raw": "-c:v rawvideo -pix_fmt bgra",
}
FILES = {codec: ("mov", options) for codec, options in CODECS.items()} | {
    "apng": ("apng", "-c:v apng -pix_fmt rgba -plays 0"),
}
each_codec = pytest.mark.parametrize("codec", CODECS)


def middle_picture(path: Path) -> Picture:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    rgb = frames[len(frames) // 2].reformat(format="rgb24", src_colorspace="ITU709")
    return np.asarray(rgb.to_ndarray(), np.uint8)


def assert_flattened(picture: Picture) -> None:
    backdrop = np.array(list(bytes.fromhex(BACKGROUND[1:])))
    row = picture[picture.shape[0] // 2].astype(int)
    assert np.abs(row[20:130] - INK).max() <= 14
    assert np.abs(row[190:300] - backdrop).max() <= 14
    assert np.abs(row[150:170] - (backdrop + INK) / 2).max() <= 16


@each_codec
@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
def test_source_shows_the_background_where_it_is_clear(
    name: str, codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"{DRAWING} {CODECS[codec]}", f"clear-{codec}.mov")
    assert_flattened(rendered(probe(path), path, name, ffmpeg, tmp_path))


@each_codec
def test_brands_video_shows_the_background_where_it_is_clear(
    codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"{DRAWING} {CODECS[codec]}", f"clear-{codec}.mov")
    video = normalize_video(path, tmp_path / "video.mp4", ffmpeg, BACKGROUND)
    assert video.duration_s == Fraction(2)
    assert_flattened(middle_picture(video.path))


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize("kind", FILES)
def test_source_that_must_be_decoded_first_shows_the_background(
    kind: str, name: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"{DRAWING} {FILES[kind][1]}", f"clear-{kind}.{FILES[kind][0]}")
    source, prepared = normalized(path, ffmpeg, tmp_path)
    assert (source.preparation, source.frame_count) == (Preparation.NORMALIZE, 50)
    assert_flattened(rendered(source, prepared, name, ffmpeg, tmp_path))


def test_picture_that_is_scaled_when_normalized_has_no_fringe(
    make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """Green lies below the clear part: it must not show at the edge, nor darken it."""
    path = make(f"{DRAWING.replace('320x180', '321x181')} {CODECS['raw']}", "clear-odd.mov")
    source, prepared = normalized(path, ffmpeg, tmp_path)
    assert source.upright_size == (320, 180)
    picture = rendered(source, prepared, "ffmpeg", ffmpeg, tmp_path)
    assert_flattened(picture)
    assert picture[90, 130:190, 1].max() <= 64 + 14


def test_source_too_large_with_alpha_is_black_where_it_is_clear(
    make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    noise = "-vf noise=c3s=0:c0s=30:c1s=30:c2s=30:allf=t"
    path = make(f"{DRAWING} {noise} {CODECS['raw']}", "clear-raw.mov")
    source, prepared = normalized(path, ffmpeg, tmp_path, max_output_bytes=3_000_000)
    assert source.pix_fmt == "yuv420p"
    picture = middle_picture(prepared)
    assert np.abs(picture[:, 20:130].mean((0, 1)) - INK).max() <= 14
    assert picture[:, 190:300].max() <= 4


@pytest.mark.parametrize("codec", ["png", "apng"])
def test_palette_with_transparent_colours_shows_the_background(
    codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    palette = "-vf split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"
    suffix = {"png": "mov", "apng": "apng"}[codec]
    path = make(f"{DRAWING} {palette} -c:v {codec} -pix_fmt pal8", f"clear-palette.{suffix}")
    assert probe(path).pix_fmt == {"png": "pal8", "apng": "rgba"}[codec]
    source, prepared = normalized(path, ffmpeg, tmp_path)
    row = rendered(source, prepared, "ffmpeg", ffmpeg, tmp_path)[90].astype(int)
    assert np.abs(row[20:130] - INK).max() <= 14
    assert np.abs(row[190:300] - list(bytes.fromhex(BACKGROUND[1:]))).max() <= 14


CHANGING = {
    "png": ("mov", "-c:v png -pix_fmt rgb24", CODECS["png"]),
    "png, grey": ("mkv", "-c:v png -pix_fmt gray", CODECS["png"]),
    "prores": ("mov", "-c:v prores_ks -profile:v 4444 -pix_fmt yuv444p10le", CODECS["prores"]),
    "magicyuv": ("mkv", "-c:v magicyuv -pix_fmt gbrp", "-c:v magicyuv -pix_fmt gbrap"),
    "jpeg 2000": ("mkv", "-c:v jpeg2000 -pix_fmt rgb24", "-c:v jpeg2000 -pix_fmt rgba"),
}


@pytest.mark.parametrize("order", ["opaque first", "clear first"])
@pytest.mark.parametrize("kind", CHANGING)
def test_source_that_is_clear_in_a_part_of_its_frames(
    kind: str, order: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    suffix, plain, clear = CHANGING[kind]
    opaque = make(f"-f lavfi -i color=0xdc1e1e:s=320x180:r=25:d=2 {plain}", f"opaque.{suffix}")
    pieces = [opaque, make(f"{DRAWING} {clear}", f"clear.{suffix}")]
    listing = tmp_path / "list.txt"
    ordered = pieces if order == "opaque first" else pieces[::-1]
    listing.write_text("".join(f"file '{piece}'\n" for piece in ordered))
    path = make(f"-f concat -safe 0 -i {listing} -c copy", f"joined.{suffix}")
    source, prepared = prepare(probe(path), path, tmp_path / "p.mkv", PrepareWatch(ffmpeg))
    assert source.frame_count == 100
    halves = [
        rendered(
            source,
            prepared,
            "ffmpeg",
            ffmpeg,
            tmp_path,
            FrameRange(0, start, start + 50, Fraction(25)),
        )
        for start in ((0, 50) if order == "opaque first" else (50, 0))
    ]
    assert np.ptp(halves[0].reshape(-1, 3).astype(int), axis=0).max() <= 14
    assert_flattened(halves[1])


def normalized(
    path: Path, ffmpeg: str, scratch: Path, max_output_bytes: int = 0
) -> tuple[Source, Path]:
    source = replace(probe(path), preparation=Preparation.NORMALIZE)
    watch = PrepareWatch(ffmpeg, max_output_bytes=max_output_bytes)
    return prepare(source, path, scratch / "prepared.mkv", watch)


def rendered(
    source: Source,
    path: Path,
    name: str,
    ffmpeg: str,
    scratch: Path,
    frames: FrameRange | None = None,
) -> Picture:
    frames = frames or FrameRange(0, 0, source.frame_count, source.frame_rate)
    profile = Profile("ultrafast", 14, 1)
    edit = PartEdit.of(source, path, frames, brand=Brand(background=BACKGROUND), profile=profile)
    render(edit, scratch / "clip.mp4", [renderer(name, ffmpeg)], RenderWatch())
    verify_clip(scratch / "clip.mp4", edit)
    return middle_picture(scratch / "clip.mp4")
