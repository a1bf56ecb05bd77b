"""Posters, read with Pillow, a decoder of its own."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idrl_testing.numbered import number_in
from worker_server.media import Aspect, plan_parts, probe
from worker_server.media.verifying.poster import poster

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Render = Callable[..., Any]


def shown(poster: bytes | None) -> Image.Image:
    assert poster is not None
    picture = Image.open(io.BytesIO(poster))
    picture.load()
    assert picture.format == "JPEG"
    return picture


def number_of(poster: bytes | None) -> int:
    return number_in(np.asarray(shown(poster).convert("L"), np.uint8))


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_poster_is_of_the_part_and_no_logo(engine: str, numbered: Numbered, render: Render) -> None:
    """The last part is one without a key frame of its own in the middle."""
    path = numbered(55, "25", "n.mp4", "-g 10 -sc_threshold 0", size=(1280, 720))
    source = probe(path)
    for part in plan_parts(source, 1):
        clip = render(source, path, part, engine=engine)
        picture = shown(clip.facts.poster)
        assert picture.size == (640, 360)
        assert number_of(clip.facts.poster) in range(part.start_frame, part.end_frame)


def test_poster_of_a_copy_is_a_key_frame_near_the_middle(numbered: Numbered, copy: Render) -> None:
    tags = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -profile:v high"
    path = numbered(100, "25", "c.mp4", f"-g 10 -sc_threshold 0 {tags}", size=(1280, 720))
    source = probe(path)
    (part,) = plan_parts(source, 4)
    assert number_of(copy(source, path, part).facts.poster) == 50


def test_narrow_clips_are_not_enlarged_and_upright_ones_stay_upright(
    numbered: Numbered, render: Render
) -> None:
    path = numbered(25, "25", "u.mp4", size=(360, 640))
    source = probe(path)
    (part,) = plan_parts(source, 1)
    clip = render(source, path, part, aspect=Aspect.SOURCE)
    assert shown(clip.facts.poster).size == (clip.edit.width, clip.edit.height)
    assert clip.edit.height > clip.edit.width


def test_black_is_avoided_where_there_is_another_picture(make: Make, render: Render) -> None:
    """The clip has no key frame after its first picture, which is black."""
    filters = "color=black:s=640x360:r=25:d=1[a];testsrc2=s=640x360:r=25:d=3[b];[a][b]concat"
    path = make(f"-f lavfi -i {filters} -c:v libx264 -preset ultrafast -g 25", "dark.mp4")
    source = probe(path)
    (part,) = plan_parts(source, 4)
    picture = np.asarray(shown(render(source, path, part).facts.poster).convert("L"))
    assert picture.std() > 20


def test_colours_are_the_sources(make: Make, render: Render) -> None:
    """Read as JPEG defines colours; an unconverted BT.709 red would be off by some 20."""
    tags = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
    scale = "-vf scale=out_color_matrix=bt709:out_range=tv"
    path = make(
        f"-f lavfi -i color=0xC02010:s=1280x720:r=25:d=1 {scale} -pix_fmt yuv420p {tags}",
        "red.mp4",
    )
    source = probe(path)
    (part,) = plan_parts(source, 1)
    red = shown(render(source, path, part).facts.poster).convert("RGB").getpixel((320, 180))
    assert red == pytest.approx((0xC0, 0x20, 0x10), abs=6)


def test_clip_that_cannot_be_decoded_has_no_poster(numbered: Numbered, render: Render) -> None:
    path = numbered(25, "25", "g.mp4")
    source = probe(path)
    (part,) = plan_parts(source, 1)
    clip = render(source, path, part)
    broken = clip.path.with_name("broken.mp4")
    content = bytearray(clip.path.read_bytes())
    start = content.find(b"mdat") + 8
    content[start : start + 20_000] = bytes(20_000)
    broken.write_bytes(content)
    assert poster(broken, [0], clip.edit) is None
