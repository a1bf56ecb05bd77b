"""Colours of every tag that a stream may carry, told by patches whose values were computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from worker_server.media import plan_parts, probe
from worker_server.media.model.source import Preparation

Make = Callable[..., Path]
Render = Callable[..., Any]
Values = NDArray[np.float64]

WIDTH, HEIGHT, FRAMES = 256, 144, 5
PATCHES = np.array(
    [[180, 30, 30], [40, 170, 50], [30, 40, 190], [200, 200, 200], [190, 180, 40], [60, 60, 60]]
)
LUMA = {"bt709": (0.2126, 0.7152, 0.0722), "bt601": (0.299, 0.587, 0.114)}
LUMA["bt2020"] = (0.2627, 0.6780, 0.0593)
# From linear BT.709 to linear BT.2020 (ITU-R BT.2087).
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
X264 = "-c:v libx264 -preset ultrafast -crf 4"


def of_luma(rgb: Values, luma: str) -> Values:
    """Return Y, Cb, Cr, 0 … 1 and -0.5 … 0.5 (H.273, 8.3)."""
    red, green, blue = LUMA[luma]
    y = rgb @ np.array([red, green, blue])
    cb, cr = (rgb[:, 2] - y) / (2 - 2 * blue), (rgb[:, 0] - y) / (2 - 2 * red)
    return np.stack([y, cb, cr], axis=1)


def ycgco(rgb: Values) -> Values:
    """Return Y, Cg, Co, scaled as the difference signals of 8-bit video are (H.273, 8.3)."""
    red, green, blue = rgb.T
    y, cg, co = green / 2 + (red + blue) / 4, green / 2 - (red + blue) / 4, (red - blue) / 2
    return np.stack([y, cg * 219 / 224, co * 219 / 224], axis=1)


def to_linear(signal: Values) -> Values:
    return np.where(signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45))


def to_signal(linear: Values) -> Values:
    return np.where(linear < 0.018, 4.5 * linear, 1.099 * np.abs(linear) ** 0.45 - 0.099)


def constant_luminance(rgb: Values) -> Values:
    """Return Y, Cb, Cr of BT.2020 with constant luminance (ITU-R BT.2020-2, table 4)."""
    linear = to_linear(rgb) @ TO_2020.T
    y = to_signal(linear @ np.array(LUMA["bt2020"]))
    blue, red = (to_signal(linear)[:, each] - y for each in (2, 0))
    cb = np.where(blue <= 0, blue / 1.9404, blue / 1.5816)
    cr = np.where(red <= 0, red / 1.7184, red / 0.9936)
    return np.stack([y, cb, cr], axis=1)


CODED = {
    "YCgCo": (ycgco, "matrix_coefficients=8"),
    "BT.2020, constant luminance": (
        constant_luminance,
        "matrix_coefficients=10:colour_primaries=9:transfer_characteristics=14",
    ),
    "derived from BT.709": (
        lambda rgb: of_luma(rgb, "bt709"),
        "matrix_coefficients=12:colour_primaries=1:transfer_characteristics=1",
    ),
    "derived from BT.2020, constant luminance": (
        constant_luminance,
        "matrix_coefficients=13:colour_primaries=9:transfer_characteristics=1",
    ),
    "reserved": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=3"),
    "unknown": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=200"),
    "BT.2085": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=11"),
    "ICtCp without HDR": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=14"),
    "YCgCo-Ro": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=17"),
    "a log curve": (
        lambda rgb: of_luma(rgb, "bt709"),
        "matrix_coefficients=1:transfer_characteristics=9",
    ),
    "a log curve of sqrt(10)": (
        lambda rgb: of_luma(rgb, "bt709"),
        "matrix_coefficients=1:transfer_characteristics=10:colour_primaries=22",
    ),
    "RGB in YUV": (lambda rgb: of_luma(rgb, "bt601"), "matrix_coefficients=0"),
}
RARE = ["YCgCo", "BT.2020, constant luminance"]


def pq(nits: Values) -> Values:
    """Return the signal of SMPTE ST 2084 for a brightness."""
    power = (nits.clip(0) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def patches(coded: Callable[[Values], Values]) -> bytes:
    """Return frames of 4:2:0 video, limited range, of one column for each patch."""
    values = coded(PATCHES / 255)
    columns = np.arange(WIDTH) * len(PATCHES) // WIDTH
    planes = (values * [219, 224, 224] + [16, 128, 128]).round().clip(1, 254).astype(np.uint8)
    luma = np.tile(planes[columns, 0], (HEIGHT, 1))
    chroma = [np.tile(planes[columns[::2], each], (HEIGHT // 2, 1)) for each in (1, 2)]
    return b"".join(plane.tobytes() for plane in (luma, *chroma)) * FRAMES


def source_of(kind: str, make: Make, name: str = "s.mp4") -> Path:
    coded, tags = CODED[kind]
    read = f"-f rawvideo -pix_fmt yuv420p -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0"
    return make(f"{read} {X264} -bsf:v h264_metadata={tags}", name, stdin=patches(coded))


def shown(path: Path, frame: int) -> Values:
    """Return the mean colour of the middle of each patch, by BT.709."""
    with av.open(str(path)) as container:
        picture = list(container.decode(video=0))[frame]
        planes = [
            np.asarray(picture.reformat(format="yuv444p").to_ndarray()[each], float)
            for each in range(3)
        ]
    width = planes[0].shape[1] / len(PATCHES)
    middles = [slice(int((n + 0.3) * width), int((n + 0.7) * width)) for n in range(len(PATCHES))]
    y, cb, cr = (
        np.array([(plane[:, middle].mean() - zero) / scale for middle in middles])
        for plane, zero, scale in zip(planes, (16, 128, 128), (219, 224, 224), strict=True)
    )
    red, blue = y + 1.5748 * cr, y + 1.8556 * cb
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.stack([red, green, blue], axis=1) * 255


@pytest.mark.parametrize("kind", CODED)
def test_patches_keep_their_colours(kind: str, make: Make, render: Render) -> None:
    path = source_of(kind, make)
    source = probe(path)
    [part] = plan_parts(source)
    clip = render(source, path, part)
    assert shown(clip.path, clip.edit.frames_before + 2) == pytest.approx(PATCHES, abs=6)


@pytest.mark.parametrize("kind", RARE)
@pytest.mark.parametrize(("engine", "name"), [("moviepy", "s.mp4"), ("ffmpeg", "s.ts")])
def test_rare_matrices_by_the_other_renderer_and_remuxed(
    kind: str,
    engine: str,
    name: str,
    make: Make,
    render: Render,
    prepared: Callable[[Path], Any],
) -> None:
    source, path = prepared(source_of(kind, make, name))
    [part] = plan_parts(source)
    clip = render(source, path, part, engine=engine)
    assert shown(clip.path, clip.edit.frames_before + 2) == pytest.approx(PATCHES, abs=6)


@pytest.mark.parametrize("kind", [*RARE, "BT.2085"])
def test_rare_matrices_of_a_source_that_is_normalized(
    kind: str, make: Make, render: Render, prepared: Callable[[Path], Any]
) -> None:
    whole = source_of(kind, make)
    path = make(f"-i {whole} -c copy -bsf:v setts=ts=TS+gt(N\\,2)*9000000", "jump.ts")
    assert probe(path).preparation is Preparation.NORMALIZE
    source, ready = prepared(path)
    [part] = plan_parts(source)
    clip = render(source, ready, part)
    assert shown(clip.path, clip.edit.frames_before + 2) == pytest.approx(PATCHES, abs=6)


@pytest.mark.parametrize(
    "tags",
    [
        "matrix_coefficients=3:colour_primaries=3:transfer_characteristics=3",
        "matrix_coefficients=3:colour_primaries=1:transfer_characteristics=1",
        "matrix_coefficients=6:colour_primaries=3:transfer_characteristics=10",
    ],
)
def test_patches_of_mpeg2_with_reserved_tags_keep_their_colours(
    tags: str, make: Make, render_all: Render
) -> None:
    read = f"-f rawvideo -pix_fmt yuv420p -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0"
    write = f"-c:v mpeg2video -q:v 1 -bsf:v mpeg2_metadata={tags}"
    data = patches(lambda rgb: of_luma(rgb, "bt601"))
    [clip] = render_all(make(f"{read} {write}", "s.mpg", stdin=data))
    assert shown(clip.path, clip.edit.frames_before + 2) == pytest.approx(PATCHES, abs=6)


X265_GREY = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=4"
GREY = {
    "hevc.mp4": X265_GREY,
    "av1.mkv": "-c:v libaom-av1 -cpu-used 8 -crf 4",
    "jump.ts": X265_GREY,
}


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("name", "engine"), [*((name, "ffmpeg") for name in GREY), ("hevc.mp4", "moviepy")]
)
def test_grey_has_the_contrast_of_its_range(
    name: str, engine: str, full: bool, make: Make, render_all: Render
) -> None:
    """HEVC and AV1 without chroma, as of films in black and white."""
    levels = np.array([20, 60, 100, 140, 180, 240])
    values = (levels if full else 16 + levels * 219 / 255).round().astype(np.uint8)
    columns = np.tile(values[np.arange(WIDTH) * len(levels) // WIDTH], (HEIGHT, 1))
    read = f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0"
    tags = f"setparams=range={'pc' if full else 'tv'}:colorspace=bt709"
    whole = make(
        f"{read} -vf {tags} {GREY[name]}",
        name,
        stdin=columns.tobytes() * FRAMES,
    )
    path = whole
    if name == "jump.ts":
        path = make(f"-i {whole} -c copy -bsf:v setts=ts=TS+gt(N\\,2)*9000000", name)
    [clip] = render_all(path, engine=engine)
    seen = shown(clip.path, clip.edit.frames_before + 2)
    assert seen.mean(axis=1) == pytest.approx(levels, abs=4)


GREYS_NITS = np.array([2.0, 10.0, 25.0, 50.0, 100.0, 203.0])
HDR = {
    "BT.2020": "colormatrix=bt2020nc:colorprim=bt2020:transfer=smpte2084",
    "ICtCp": "colormatrix=ictcp:colorprim=bt2020:transfer=smpte2084",
    "ICtCp with other primaries": "colormatrix=ictcp:colorprim=smpte432:transfer=smpte2084",
    "constant luminance": "colormatrix=bt2020c:colorprim=bt2020:transfer=smpte2084",
    "a wrong peak": "colormatrix=bt2020nc:colorprim=bt2020:transfer=smpte2084:max-cll=20,5",
    "a wrong display": (
        "colormatrix=bt2020nc:colorprim=bt2020:transfer=smpte2084"
        ":master-display=G(0,0)B(0,0)R(0,0)WP(0,0)L(10000,1)"
    ),
}


@pytest.mark.parametrize(
    ("kind", "engine"), [*((kind, "ffmpeg") for kind in HDR), ("ICtCp", "moviepy")]
)
def test_hdr_is_as_bright_as_a_display_shows_it(
    kind: str, engine: str, make: Make, render: Render
) -> None:
    """Greys have no colour difference in any matrix; reference white is 203 nits (BT.2408)."""
    columns = np.arange(WIDTH) * len(GREYS_NITS) // WIDTH
    luma = np.tile((64 + 876 * pq(GREYS_NITS)).round().astype("<u2")[columns], (HEIGHT, 1))
    grey = np.full(WIDTH * HEIGHT // 2, 512, "<u2")
    read = f"-f rawvideo -pix_fmt yuv420p10le -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0"
    x265 = f"-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=4:{HDR[kind]}"
    path = make(f"{read} {x265}", "hdr.mp4", stdin=(luma.tobytes() + grey.tobytes()) * FRAMES)
    source = probe(path)
    [part] = plan_parts(source)
    clip = render(source, path, part, engine=engine)
    seen = shown(clip.path, clip.edit.frames_before + 2)
    assert np.ptp(seen, axis=1).max() < 6  # grey
    as_sdr = 255 * (GREYS_NITS / 203) ** (1 / 2.4)  # BT.1886
    levels = seen.mean(axis=1)
    assert levels[:4] == pytest.approx(as_sdr[:4], abs=4)
    assert all(levels[:-1] < levels[1:])
    assert 200 < levels[-1] < 235  # brighter than white has room
