"""Pictures with hardly any contrast: fog, night, a fade to black. None is mistaken for another."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from worker_server.media import (
    PROFILES,
    ClipRejected,
    PartEdit,
    Quality,
    RenderWatch,
    plan_parts,
    probe,
    render,
    renderers,
    verify_clip,
)

Make = Callable[..., Path]
WIDTH, HEIGHT, FRAMES = 320, 180, 25
GOOD = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -ar 48000 -ac 2"


def dim(make: Make, deviation: float, *, noise: float = 2) -> Path:
    """Make a dark video; `deviation` is the standard deviation of its large shapes."""
    random = np.random.default_rng(1)
    across, down = np.linspace(-1, 1, WIDTH)[None, :], np.linspace(-1, 1, HEIGHT)[:, None]
    shapes = np.sin(5 * across) * np.cos(4 * down + 1)
    picture = 24 + deviation * shapes / shapes.std()
    grain = random.normal(0, noise, (FRAMES, HEIGHT, WIDTH))
    raw = np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8).tobytes()
    read = f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0"
    write = "-c:v libx264 -preset fast -crf 18 -pix_fmt yuv420p -g 25"
    return make(f"{read} {write}", "dim.mp4", stdin=raw)


@pytest.mark.parametrize("noise", [0, 2, 12])
@pytest.mark.parametrize("deviation", [3.8, 4])
def test_dim_pictures_are_the_source_s(
    deviation: float, noise: float, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = dim(make, deviation, noise=noise)
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, profile=PROFILES[Quality.BALANCED])
    every = renderers("ffmpeg", ffmpeg, stream_copy=True)
    assert render(edit, tmp_path / "clip.mp4", every, RenderWatch()).facts.frames == 75


@pytest.mark.parametrize("filters", ["vflip", "hflip", "negate", "lutyuv=y=24"])
def test_other_dim_pictures_are_found(filters: str, make: Make) -> None:
    path = dim(make, 6)
    source = probe(path)
    [part] = plan_parts(source)
    edit = PartEdit.of(source, path, part, logo_s=0.0)
    silence = f"-f lavfi -i anullsrc=r=48000 -t {FRAMES / 25}"
    clip = make(f"-i {path} {silence} -vf {filters} {GOOD}", "bad.mp4")
    with pytest.raises(ClipRejected, match="pictures of frames"):
        verify_clip(clip, edit)
