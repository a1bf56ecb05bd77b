"""Colours of a palette that the container stores once, beside the pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Make = Callable[..., Path]

BARS = "color=red:s=160x90:r=10:d=3,drawbox=80:0:80:90:white:fill"
TO_PALETTE = "split[a][b];[a]palettegen[p];[b][p]paletteuse"
KINDS = {
    "qtrle in grey": ("s.mov", f"{BARS},format=gray", "-c:v qtrle -g 10", (76, 255)),
    "msrle in quicktime": ("s.mov", f"{BARS},{TO_PALETTE}", "-c:v msrle", (255, 255)),
    "no compression in avi": (
        "s.avi", f"{BARS},{TO_PALETTE}", "-c:v rawvideo -pix_fmt pal8", (255, 255),
    ),
    "msrle in avi": ("s.avi", f"{BARS},{TO_PALETTE}", "-c:v msrle", (255, 255)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_has_its_colours(
    kind: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    name, picture, options, reds = KINDS[kind]
    for clip in render_all(make(f"-f lavfi -i {picture} {options}", name), part_s=1, logo_s=0):
        with av.open(str(clip.path)) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
        middle = frame[len(frame) // 2].astype(np.int16)
        shown = [middle[len(middle) * share // 4, 0] for share in (1, 3)]
        assert shown == pytest.approx(reds, abs=6)
