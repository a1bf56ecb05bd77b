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
from worker_server.media.model.source import Preparation
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
    source = probe(path)
    frames = FrameRange(0, 0, source.frame_count, source.frame_rate)
    profile = Profile("ultrafast", 14, 1)
    edit = PartEdit.of(source, path, frames, brand=Brand(background=BACKGROUND), profile=profile)
    render(edit, tmp_path / "clip.mp4", [renderer(name, ffmpeg)], RenderWatch())
    verify_clip(tmp_path / "clip.mp4", edit)
    assert_flattened(middle_picture(tmp_path / "clip.mp4"))


@each_codec
def test_brands_video_shows_the_background_where_it_is_clear(
    codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"{DRAWING} {CODECS[codec]}", f"clear-{codec}.mov")
    video = normalize_video(path, tmp_path / "video.mp4", ffmpeg, BACKGROUND)
    assert video.duration_s == Fraction(2)
    assert_flattened(middle_picture(video.path))


@each_codec
def test_source_that_must_be_decoded_first_is_black_where_it_is_clear(
    codec: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"{DRAWING} {CODECS[codec]}", f"clear-{codec}.mov")
    source, prepared = prepare(
        replace(probe(path), preparation=Preparation.NORMALIZE),
        path,
        tmp_path / "prepared.mkv",
        PrepareWatch(ffmpeg),
    )
    assert source.pix_fmt == "yuv420p"
    row = middle_picture(prepared)[90].astype(int)
    assert np.abs(row[20:130] - INK).max() <= 14
    assert row[190:300].max() <= 4
