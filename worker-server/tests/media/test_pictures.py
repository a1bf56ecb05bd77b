"""What a clip looks like: size, shape, colours, the logo, and that both renderers agree."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from draw_logo import draw
from PIL import Image

from worker_server.media import (
    DEFAULT_LOGO,
    Brand,
    PartEdit,
    Profile,
    plan_parts,
    probe,
    renderer,
)

Make = Callable[..., Path]
Render = Callable[..., Any]
Ssim = Callable[[Path, Path], list[float]]
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -crf 8"
MOTION = "-f lavfi -i testsrc2=s={size}:r=25:d=2"

VARIANTS = {
    "plain": (MOTION.format(size="640x360"), X264, (640, 360)),
    "4:3": (MOTION.format(size="640x480"), X264, (640, 360)),
    "portrait": (MOTION.format(size="360x640"), X264, (352, 198)),
    "odd": (MOTION.format(size="641x361"), X264.replace("yuv420p", "yuv444p"), (640, 360)),
    "ultra wide": (MOTION.format(size="860x360"), X264, (640, 360)),
    "anamorphic": (MOTION.format(size="360x288") + ",setsar=64/45", X264, (512, 288)),
    "full range": (
        MOTION.format(size="640x360"),
        f"{X264} -vf scale=out_range=full,setparams=range=pc",
        (640, 360),
    ),
    "tagged bt709": (
        MOTION.format(size="640x360"),
        (
            f"{X264} -vf scale=out_color_matrix=bt709,setparams=colorspace=bt709"
            ":color_primaries=bt709:color_trc=bt709"
        ),
        (640, 360),
    ),
    "ten bits": (MOTION.format(size="640x360"), X264.replace("yuv420p", "yuv420p10le"), (640, 360)),
    "rgb": (
        MOTION.format(size="640x360"),
        "-c:v libx264rgb -preset ultrafast -crf 8 -pix_fmt rgb24",
        (640, 360),
    ),
}


def frame_of(path: Path, number: int, pix_fmt: str = "rgb24") -> "np.ndarray[Any, np.dtype[Any]]":
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                return frame.to_ndarray(format=pix_fmt)
    raise IndexError(number)


@pytest.fixture
def ssim(ffmpeg: str) -> Ssim:
    """Return the structural similarity of each pair of frames, over all planes, by ffmpeg."""

    def run(first: Path, second: Path) -> list[float]:
        command = [
            ffmpeg,
            "-v",
            "error",
            "-i",
            str(first),
            "-i",
            str(second),
            "-lavfi",
            "[0:v][1:v]ssim=stats_file=-",
            "-f",
            "null",
            "-",
        ]
        printed = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout
        return [float(value) for value in re.findall(r"All:([\d.]+)", printed)]

    return run


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_renderers_show_the_same(variant: str, make: Make, render: Render, ssim: Ssim) -> None:
    arguments, options, size = VARIANTS[variant]
    path = make(f"{arguments} {options}", "source.mkv")
    source = probe(path)
    [part] = plan_parts(source)
    fast, reference = (
        render(source, path, part, engine=engine) for engine in ("ffmpeg", "moviepy")
    )
    assert (fast.edit.width, fast.edit.height) == size
    similarity = ssim(fast.path, reference.path)
    assert len(similarity) == fast.edit.total_frames
    # The least of all frames, bumpers included.
    assert min(similarity) >= 0.97


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_both_renderers_turn_the_picture_the_same_way(
    degrees: int, make: Make, render: Render, ssim: Ssim
) -> None:
    plain = make(f"{MOTION.format(size='640x360')} {X264}", "plain.mp4")
    path = make(f"-display_rotation {degrees} -i {plain} -c copy", "turned.mp4")
    source = probe(path)
    [part] = plan_parts(source)
    fast, reference = (
        render(source, path, part, engine=engine) for engine in ("ffmpeg", "moviepy")
    )
    assert min(ssim(fast.path, reference.path)) >= 0.97


@pytest.mark.parametrize("name", ["turned.mp4", "turned.mov"])
def test_rewriting_keeps_the_turn(name: str, make: Make, render_all: Render, ssim: Ssim) -> None:
    plain = make(f"{MOTION.format(size='640x360')} {X264} -g 10", "plain.mp4")
    turned = make(f"-display_rotation 90 -i {plain} -c copy", name)
    fragments = make(f"-i {turned} -c copy -movflags +frag_keyframe+empty_moov", name)
    [rewritten] = render_all(fragments, part_s=20, logo_s=0.2)
    assert rewritten.edit.source.rotation == 90
    assert rewritten.edit.source.demuxer == "matroska"
    rewritten_path = rewritten.path.rename(rewritten.path.with_name("rewritten.mp4"))
    [direct] = render_all(turned, part_s=20, logo_s=0.2)
    assert min(ssim(rewritten_path, direct.path)) >= 0.99


def test_a_real_clip_with_motion_and_noise_at_the_default_settings(
    make: Make, render: Render, ssim: Ssim
) -> None:
    filters = "testsrc2=s=640x360:r=30000/1001:d=3,noise=alls=12:allf=t,rotate=t/4"
    path = make(f"-f lavfi -i {filters} {X264}", "motion.mp4")
    source = probe(path)
    part = plan_parts(source, 2)[1]
    clips = [
        render(source, path, part, engine=engine, profile=Profile())
        for engine in ("ffmpeg", "moviepy")
    ]
    # Noise is what two encodings at crf 22 differ in; another picture or place is far below.
    assert min(ssim(*(clip.path for clip in clips))) >= 0.94


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_hdr_is_tone_mapped(transfer: str, engine: str, make: Make, render: Render) -> None:
    # Three greys; in PQ 0.58 of the signal is 203 nits, the white of ordinary pictures.
    grey = (
        "color=c=gray:s=320x180:r=25:d=1,format=yuv420p10le,geq=lum=64+876*{level}:cb=512:cr=512"
    ).replace("{level}", "(0.15+0.215*floor(3*X/W))")
    tags = f",setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}:range=tv"
    x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le"
    path = make(f"-f lavfi -i {grey}{tags} {x265} -tag:v hvc1", "hdr.mp4")
    source = probe(path)
    assert source.colour_transfer == {"smpte2084": 16, "arib-std-b67": 18}[transfer]
    [part] = plan_parts(source)
    clip = render(source, path, part, engine=engine)
    luma = frame_of(clip.path, clip.edit.frames_before + 2, "gray")[90]
    dark, middle, bright = (int(luma[x]) for x in (53, 160, 267))
    assert 16 <= dark < middle < bright <= 235
    assert bright - dark > 60
    with av.open(str(clip.path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (
            1,
            1,
            1,
            1,
        )


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize(("lines", "matrix"), [(360, "bt601"), (720, "bt709")])
def test_colours_stay_what_they_were(
    engine: str, lines: int, matrix: str, make: Make, render: Render
) -> None:
    size = f"{lines * 16 // 9}x{lines}"
    picture = f"-f lavfi -i color=c=0xC03020:s={size}:r=5:d=1,format=rgb24"
    path = make(
        f"{picture},scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p"
        f",setparams=colorspace=unknown {X264}",
        "red.mp4",
    )
    source = probe(path)
    assert source.colour_matrix == 2  # the file does not say
    [part] = plan_parts(source)
    clip = render(source, path, part, engine=engine)
    with av.open(str(clip.path)) as container:
        frame = list(container.decode(video=0))[clip.edit.frames_before + 1]
        assert (frame.colorspace, frame.color_range) == (1, 1)
        shown = frame.reformat(
            format="rgb24", src_colorspace=1, src_color_range=1, dst_color_range=2
        ).to_ndarray()
    assert np.abs(shown[lines // 2, lines // 2].astype(int) - (0xC0, 0x30, 0x20)).max() <= 6


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_logo_is_centred_on_a_plain_background(engine: str, make: Make, render: Render) -> None:
    # Odd sides and a name with special characters: a logo may be any file.
    logo = make("-f lavfi -i color=c=white:s=100x50:d=1 -frames:v 1", "logo.png")
    logo = logo.rename(logo.with_name("our logo %03d.png"))
    path = make(f"-f lavfi -i color=c=red:s=640x360:r=25:d=1 {X264}", "red.mp4")
    source = probe(path)
    [part] = plan_parts(source)
    clip = render(source, path, part, engine=engine, logo_path=logo, logo_s=0.4)
    assert (clip.edit.frames_before, clip.edit.total_frames) == (10, 45)
    for number in (0, 9, 35, 44):
        picture = frame_of(clip.path, number, "gray").astype(int)
        rows, columns = np.nonzero(picture > 150)
        # Two fifths of the width, and as much of the height as keeps the logo's shape.
        assert (
            np.abs(
                [columns.min() - 192, columns.max() - 447, rows.min() - 116, rows.max() - 243]
            ).max()
            <= 2
        )
        border = picture[:100]
        assert border.max() - border.min() <= 2
    for number in (10, 34):
        assert (frame_of(clip.path, number)[180, 320].astype(int) > (150, -1, -1)).all()
        assert frame_of(clip.path, number)[180, 320][1] < 100


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_without_a_logo_there_is_only_the_part(engine: str, make: Make, render: Render) -> None:
    path = make(f"{MOTION.format(size='320x180')} {X264}", "plain.mp4")
    source = probe(path)
    clip = render(source, path, plan_parts(source)[0], engine=engine, logo_s=0)
    assert clip.facts.frames == 50


def test_nothing_of_the_source_leaks_and_players_can_start_at_once(
    make: Make, render: Render
) -> None:
    tags = "-metadata title=secret -metadata location=+40.7-74.0/ -metadata:s:v handler_name=secret"
    path = make(f"{MOTION.format(size='320x180')} {X264} {tags}", "tagged.mp4")
    source = probe(path)
    content = render(source, path, plan_parts(source)[0]).path.read_bytes()
    assert b"secret" not in content
    assert b"+40.7" not in content
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_largest_frame_the_settings_allow(make: Make, render: Render) -> None:
    path = make(f"-f lavfi -i testsrc2=s=1280x720:r=5:d=1 {X264}", "hd.mp4")
    source = probe(path)
    clip = render(source, path, plan_parts(source)[0], max_width=650)
    assert (clip.edit.width, clip.edit.height) == (640, 360)


def test_a_plain_source_passes_through_no_scaler(make: Make, ffmpeg: str, tmp_path: Path) -> None:
    path = make(f"-f lavfi -i testsrc2=s=1280x720:r=25:d=1 {X264}", "hd.mp4")
    source = probe(path)
    edit = PartEdit.of(source, path, plan_parts(source)[0])
    graph = " ".join(renderer("ffmpeg", ffmpeg).command(edit, tmp_path / "o.mp4"))
    chain = graph.split("[main1];")[0]
    assert not re.search(r"crop|scale|bwdif|zscale|format=yuv", chain)


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_clips_decode_without_warnings(
    engine: str, make: Make, render: Render, ffmpeg: str
) -> None:
    path = make(
        f"{MOTION.format(size='320x180')} -f lavfi -i sine=d=2 {X264} -c:a aac", "plain.mp4"
    )
    source = probe(path)
    clip = render(source, path, plan_parts(source)[0], engine=engine)
    command = [ffmpeg, "-v", "warning", "-xerror", "-i", str(clip.path), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""


def test_built_in_logo_is_the_output_of_draw_logo() -> None:
    drawn, shipped = draw(), Image.open(DEFAULT_LOGO).convert("RGBA")
    assert drawn.size == shipped.size
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(shipped)).mean() < 2


def test_an_unknown_engine_is_an_error(ffmpeg: str) -> None:
    with pytest.raises(ValueError, match="no renderer called 'gpu'"):
        renderer("gpu", ffmpeg)


def test_an_edit_survives_json(make: Make) -> None:
    path = make(f"{MOTION.format(size='320x180')} {X264}", "plain.mp4")
    source = probe(path)
    edit = PartEdit.of(source, path, plan_parts(source)[0], logo_s=0.5)
    assert PartEdit.from_json(edit.to_json()) == edit
    assert replace(edit, brand=Brand()).total_frames == 50
