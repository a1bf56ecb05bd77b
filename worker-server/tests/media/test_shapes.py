"""Aspects and fits: each frame is there, at the place and in the size that it must have.

The source has its number in the middle and a ramp from dark (left) to light (right) around it, so
that a pixel of a clip tells which column of the source it shows. Clips are read with PyAV.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from idrl_testing.numbered import number_in, picture
from worker_server.media import (
    Aspect,
    ClipRejected,
    Fit,
    FrameRange,
    PartEdit,
    Profile,
    RenderWatch,
    probe,
    render as media_render,
    renderer,
    verify_clip,
)
from worker_server.media.rendering.stream_copy import StreamCopyRenderer

Make = Callable[..., Path]
Picture = NDArray[np.uint8]
FRAMES, BUMPER = 10, 2
_TOLERANCE = 4  # MoviePy works in RGB; of the ramp it is a fiftieth
PATCH = (160, 90)
BACKGROUND = 33  # luma of the grey 0x14 in limited range
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"

# Of sources of 640 x 360 and 360 x 640: the clip's size.
SIZES = {
    ((640, 360), "16:9", "crop"): (640, 360),
    ((640, 360), "9:16", "crop"): (198, 352),
    ((640, 360), "1:1", "crop"): (360, 360),
    ((640, 360), "4:5", "crop"): (288, 360),
    ((640, 360), "source", "blur"): (640, 360),
    ((640, 360), "16:9", "pad"): (640, 360),
    ((640, 360), "9:16", "pad"): (630, 1120),
    ((640, 360), "1:1", "pad"): (640, 640),
    ((640, 360), "4:5", "blur"): (640, 800),
    ((640, 360), "9:16", "blur"): (630, 1120),
    ((360, 640), "16:9", "crop"): (352, 198),
    ((360, 640), "16:9", "pad"): (1120, 630),
    ((360, 640), "16:9", "blur"): (1120, 630),
    ((360, 640), "1:1", "blur"): (640, 640),
    ((360, 640), "9:16", "pad"): (360, 640),
    ((360, 640), "source", "crop"): (360, 640),
}
MOVIEPY = [
    ((640, 360), "9:16", "crop"),
    ((640, 360), "1:1", "pad"),
    ((640, 360), "9:16", "blur"),
    ((360, 640), "source", "crop"),
]


def column(x: float, width: int) -> float:
    """The ramp's luma, in limited range, at a place of the source."""
    return 16 + 219 * (30 + 190 * x / width) / 255


@pytest.fixture(scope="session")
def ramp(make: Make) -> Callable[[tuple[int, int]], Path]:
    """Make a source of a size whose frame k has the number k in its middle."""
    made: dict[tuple[int, int], Path] = {}

    def source(size: tuple[int, int]) -> Path:
        if size not in made:
            width, height = size
            backdrop = np.tile((30 + 190 * np.arange(width) / width).astype(np.uint8), (height, 1))
            top, left = (height - PATCH[1]) // 2, (width - PATCH[0]) // 2
            frames = []
            for number in range(FRAMES):
                frame = backdrop.copy()
                frame[top : top + PATCH[1], left : left + PATCH[0]] = picture(number, *PATCH)
                frames.append(frame.tobytes())
            read = f"-f rawvideo -pix_fmt gray -s {width}x{height} -framerate 10 -i pipe:0"
            write = f"-c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p {TAGS}"
            levels = ("-vf", "scale=out_color_matrix=bt709:out_range=limited")
            tone = "-f lavfi -i sine=r=44100:d=1 -c:a aac"
            raw = b"".join(frames)
            made[size] = make(f"{read} {tone} {write}", "ramp.mp4", *levels, stdin=raw)
        return made[size]

    return source


def edit_of(path: Path, aspect: str, fit: str, **options: Any) -> PartEdit:  # noqa: ANN401 # passed on
    source = probe(path)
    part = FrameRange(0, 0, FRAMES, source.frame_rate)
    chosen: dict[str, Any] = {
        "aspect": Aspect(aspect),
        "fit": Fit(fit),
        "profile": Profile("ultrafast", 12, 1),
    }
    return PartEdit.of(source, path, part, logo_s=0.2, **(chosen | options))


def lumas(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
            frames.append(rows[: frame.height, : frame.width])
        return frames


def shown_at(size: tuple[int, int], frame: tuple[int, int], fit: str) -> tuple[float, float, float]:
    """Return the scale, and the left and top of the source in the frame, by the definition."""
    ratios = (frame[0] / size[0], frame[1] / size[1])
    scale = max(ratios) if fit == "crop" else min(ratios)
    return scale, (frame[0] - size[0] * scale) / 2, (frame[1] - size[1] * scale) / 2


CASES = [("ffmpeg", *case) for case in SIZES] + [("moviepy", *case) for case in MOVIEPY]


@pytest.mark.parametrize(("engine", "size", "aspect", "fit"), CASES)
def test_each_frame_is_where_its_shape_puts_it(
    engine: str,
    size: tuple[int, int],
    aspect: str,
    fit: str,
    ramp: Callable[[tuple[int, int]], Path],
    ffmpeg: str,
    tmp_path: Path,
) -> None:
    edit, output = edit_of(ramp(size), aspect, fit), tmp_path / "clip.mp4"
    media_render(edit, output, [renderer(engine, ffmpeg)], RenderWatch())
    frames = lumas(output)
    width, height = SIZES[size, aspect, fit]
    assert {frame.shape for frame in frames} == {(height, width)}
    content = frames[BUMPER:-BUMPER]
    assert len(content) == FRAMES
    scale, left, top = shown_at(size, (width, height), "crop" if aspect == "source" else fit)
    patch_w, patch_h = (round(side * scale) for side in PATCH)
    row, begin = (height - patch_h) // 2, (width - patch_w) // 2
    patches = [frame[row : row + patch_h, begin : begin + patch_w] for frame in content]
    assert [number_in(patch) for patch in patches] == list(range(FRAMES))
    _check_columns(content[5], size[0], scale, left, top)
    if fit == "pad":
        _check_grey(content[5], left, top)
    if fit == "blur":
        _check_blurred(content[5], size, left, top)


def _check_columns(
    frame: Picture, source_width: int, scale: float, left: float, top: float
) -> None:
    """The ramp, above the number, is stretched and placed as it must be."""
    width = frame.shape[1]
    row = frame[round(max(top, 0)) + 6 : round(max(top, 0)) + 14].mean(axis=0)
    first, last = max(0, round(left)) + 4, min(width, round(width - left)) - 4
    for x in range(first, last, 8):
        expected = column((x + 0.5 - left) / scale, source_width)
        assert row[x] == pytest.approx(expected, abs=_TOLERANCE), x


def _check_grey(frame: Picture, left: float, top: float) -> None:
    bars = _bars(frame, left, top)
    assert all(abs(bar.astype(int) - BACKGROUND).max() <= 3 for bar in bars)


def _check_blurred(frame: Picture, size: tuple[int, int], left: float, top: float) -> None:
    """The bars go on with the ramp's middle, without edges."""
    height, width = frame.shape
    for bar in _bars(frame, left, top):
        assert abs(np.diff(bar.astype(int), axis=1)).max() < 12
    if top > 20:  # the frame is narrower than the source: its background is the ramp's middle
        enlarged = height / size[1]
        row = frame[4:12].mean(axis=0)
        for x in range(40, width - 40, 20):
            expected = column(size[0] / 2 + (x - width / 2) / enlarged, size[0])
            assert row[x] == pytest.approx(expected, abs=8), x


def _bars(frame: Picture, left: float, top: float) -> list[Picture]:
    """Return what is around the picture, without its edges."""
    x, y = int(left) - 4, int(top) - 4
    bars = [frame[:y], frame[-y:]] if y > 0 else []
    return [*bars, frame[:, :x], frame[:, -x:]] if x > 0 else bars


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_colours_are_blurred_as_far_as_brightness(
    engine: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """From blue to red both planes go half-way over the same distance, of about 16 * 2 pixels."""
    halves = "color=blue:s=320x360:r=10:d=0.5[b];color=red:s=320x360:r=10:d=0.5[r];[b][r]hstack"
    x264 = f"-c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p {TAGS}"
    path = make(f"-f lavfi -i {halves},scale=out_color_matrix=bt709 {x264}", "halves.mp4")
    source, output = probe(path), tmp_path / "clip.mp4"
    edit = PartEdit.of(
        source, path, FrameRange(0, 0, 2, source.frame_rate), logo_s=0, aspect=Aspect.TALL,
        fit=Fit.BLUR, profile=Profile("ultrafast", 10, 1),
    )  # fmt: skip
    media_render(edit, output, [renderer(engine, ffmpeg)], RenderWatch())
    with av.open(str(output)) as container:
        frame = next(container.decode(video=0))
    widths = []
    for plane, step in ((0, 1), (2, 2)):
        pixels = np.frombuffer(bytes(frame.planes[plane]), np.uint8)
        row = pixels.reshape(-1, frame.planes[plane].line_size)[20 // step, : frame.width // step]
        low, high = float(row.min()), float(row.max())
        between = (row > low + (high - low) / 4) & (row < high - (high - low) / 4)
        widths.append(int(between.sum()) * step)
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


@pytest.mark.parametrize(("aspect", "fit"), [("9:16", "crop"), ("4:5", "blur"), ("source", "pad")])
def test_logo_is_in_the_middle_of_its_frame(
    aspect: str, fit: str, ramp: Callable[[tuple[int, int]], Path], ffmpeg: str, tmp_path: Path
) -> None:
    output = tmp_path / "clip.mp4"
    edit = edit_of(ramp((640, 360)), aspect, fit)
    media_render(edit, output, [renderer("ffmpeg", ffmpeg)], RenderWatch())
    frames = lumas(output)
    for bumper in (*frames[:BUMPER], *frames[-BUMPER:]):
        rows, columns = np.nonzero(abs(bumper.astype(int) - BACKGROUND) > 12)
        height, width = bumper.shape
        assert rows.min() + rows.max() == pytest.approx(height, abs=4)
        assert columns.min() + columns.max() == pytest.approx(width, abs=4)
        assert columns.max() - columns.min() <= width * 0.4 + 1
        assert rows.max() - rows.min() <= height * 0.4 + 1


def test_a_picture_that_needs_no_change_is_copied(
    numbered: Make, ffmpeg: str, tmp_path: Path, numbers_in: Callable[[Path], list[int]]
) -> None:
    path = numbered(
        100, "25", "4-3.mp4", f"-profile:v high -8x8dct 1 -g 10 {TAGS}", size=(320, 240)
    )
    source = probe(path)
    part = FrameRange(0, 5, 95, source.frame_rate)
    copying = StreamCopyRenderer(ffmpeg)

    def edit(aspect: str, fit: str) -> PartEdit:
        return PartEdit.of(source, path, part, aspect=Aspect(aspect), fit=Fit(fit), logo_s=0.2)

    for aspect in ("16:9", "9:16", "1:1", "4:5"):
        assert not any(copying.can_render(edit(aspect, fit)) for fit in Fit)
    whole = edit("source", "blur")
    clip = media_render(whole, tmp_path / "clip.mp4", [copying], RenderWatch())
    assert (clip.rendered_by, whole.width, whole.height) == ("copy", 320, 240)
    assert numbers_in(tmp_path / "clip.mp4")[5:-5] == list(range(5, 95))


@pytest.mark.parametrize("fit", ["pad", "blur"])
@pytest.mark.parametrize(
    ("size", "aspect"), [((318, 180), "16:9"), ((320, 178), "16:9"), ((320, 318), "1:1")]
)
def test_a_picture_two_pixels_smaller_than_its_frame_is_not_copied(
    size: tuple[int, int], aspect: str, fit: str, numbered: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """Beside encoded pictures of the frame's size the copied ones would change the clip's size."""
    path = numbered(60, "25", "narrow.mp4", f"-profile:v high -8x8dct 1 -g 10 {TAGS}", size=size)
    source = probe(path)
    part, output = FrameRange(0, 5, 55, source.frame_rate), tmp_path / "clip.mp4"
    edit = PartEdit.of(source, path, part, aspect=Aspect(aspect), fit=Fit(fit), logo_s=0.2)
    assert (edit.width - size[0], edit.height - size[1]) in ((2, 0), (0, 2))
    engines = [renderer(name, ffmpeg) for name in ("copy", "ffmpeg")]
    assert media_render(edit, output, engines, RenderWatch()).rendered_by == "encode"
    frames = lumas(output)
    assert {frame.shape for frame in frames} == {(edit.height, edit.width)}
    assert [number_in(frame[: size[1], : size[0]]) for frame in frames[5:-5]] == [*range(5, 55)]


def test_a_picture_at_another_place_is_refused(
    ramp: Callable[[tuple[int, int]], Path], ffmpeg: str, tmp_path: Path
) -> None:
    """Verification compares what is shown in the frame's content, not the whole frame."""
    padded = edit_of(ramp((640, 360)), "1:1", "pad")
    output = tmp_path / "clip.mp4"
    media_render(padded, output, [renderer("ffmpeg", ffmpeg)], RenderWatch())
    assert verify_clip(output, padded).frames == FRAMES + 2 * BUMPER
    mirrored = tmp_path / "hflip.mp4"
    command = [ffmpeg, "-v", "error", "-i", str(output), "-vf", "hflip", "-c:a", "copy"]
    options = ["-profile:v", "high", "-8x8dct", "1", "-preset", "ultrafast", "-crf", "12"]

    subprocess.run([*command, *options, str(mirrored)], check=True)
    with pytest.raises(ClipRejected, match="not the source's"):
        verify_clip(mirrored, padded)


VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M"
X264 = "-c:v libx264 -preset ultrafast -crf 10"
# Size and options of two pieces of one shape; aspect and fit; the clip's size, the picture in it.
ONE_SHAPE = {
    "a call on a phone held upright": (
        "webm", ((180, 320), VP8), ((270, 480), VP8), ("9:16", "crop"), (270, 480), (270, 480),
    ),
    "pixel format": (
        "mkv", ((240, 180), X264), ((240, 180), f"{X264} -pix_fmt yuv444p"), ("16:9", "pad"),
        (320, 180), (240, 180),
    ),
    "colours": (
        "ts", ((240, 180), f"{X264} -colorspace bt709"),
        ((240, 180), f"{X264} -colorspace smpte170m"), ("1:1", "blur"), (240, 240), (240, 180),
    ),
    "pixel aspect": (
        "mkv", ((240, 180), f"{X264} -bsf:v h264_metadata=sample_aspect_ratio=4/3"),
        ((640, 360), X264), ("source", "crop"), (640, 360), (640, 360),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_SHAPE)
def test_edit_applies_to_a_source_that_changes_its_size_or_colours(
    kind: str,
    numbered: Make,
    make: Make,
    render_all: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    name, *pieces, (aspect, fit), size, (width, height) = ONE_SHAPE[kind]
    listing = tmp_path / "list.txt"
    with listing.open("w") as file:
        for number, (own, options) in enumerate(pieces):
            piece = numbered(
                10, "10", f"p.{name}", options, size=own, first=10 * number, sound=False
            )
            file.write(f"file '{piece}'\n")
    path = make(f"-f concat -safe 0 -i {listing} -c copy", f"joined.{name}")
    assert probe(path).irregular == "the picture's format changes"
    shape = {"aspect": Aspect(aspect), "fit": Fit(fit)}
    [clip] = render_all(path, part_s=20, logo_s=0, **shape)
    assert (clip.edit.width, clip.edit.height) == size
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    shown = [frame[top : top + height, left : left + width] for frame in lumas(clip.path)]
    assert [number_in(frame) for frame in shown] == list(range(20))
