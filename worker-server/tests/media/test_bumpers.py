"""Brands in clips: bumpers to the frame, their colours and tones, and the watermark's place."""

import wave
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from idrl_testing.numbered import number_in
from worker_server.media import (
    Aspect,
    Brand,
    Bumper,
    ClipRejected,
    Fit,
    FrameRange,
    PartEdit,
    Place,
    Profile,
    RenderWatch,
    Watermark,
    probe,
    render,
    renderer,
    verify_clip,
)
from worker_server.media.model.brand import LOGO_SHARE

Make = Callable[..., Path]
Picture = np.ndarray[Any, np.dtype[np.uint8]]
RED, BLUE, GREEN, WHITE = (220, 30, 30), (30, 30, 220), (20, 160, 60), (255, 255, 255)
BLACK = (0, 0, 0)
BACKGROUND = "#c83264"
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
FIT = f"-profile:v high -8x8dct 1 -bf 2 -g 10 {TAGS}"
RATE = 48_000
TONE = "-f lavfi -i sine=r=44100:d=4 -c:a aac -pix_fmt yuv420p"
TONE_HZ = 2000


@pytest.fixture(scope="session")
def fit(numbered: Make) -> Path:
    """Four seconds at 25 fps that every renderer can render."""
    return numbered(100, "25", "brand-source.mp4", FIT)


def solid(path: Path, size: tuple[int, int], colour: tuple[int, ...]) -> Path:
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)
    return path


def edit_of(path: Path, brand: Brand, **options: Any) -> PartEdit:  # noqa: ANN401 # passed on
    source = probe(path)
    frames = FrameRange(0, 10, 73, source.frame_rate)
    return PartEdit.of(
        source, path, frames, brand=brand, profile=Profile("ultrafast", 14, 1), **options
    )


def rendered(name: str, edit: PartEdit, ffmpeg: str, scratch: Path) -> list[Picture]:
    render(edit, scratch / "clip.mp4", [renderer(name, ffmpeg)], RenderWatch())
    return pictures(scratch / "clip.mp4")


def pictures(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [
            np.asarray(
                frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray(), np.uint8
            )
            for frame in container.decode(video=0)
        ]


def numbers(frames: list[Picture]) -> list[int]:
    return [number_in(np.asarray(frame.mean(axis=2), np.uint8)) for frame in frames]


def is_colour(area: Picture, colour: tuple[int, ...]) -> bool:
    return bool(np.abs(area.astype(int) - np.array(colour)).max() <= 14)


def bright_lines(frame: Picture) -> tuple[int, int]:
    """Count the rows and the columns in which something is white."""
    bright = np.asarray(frame.min(axis=2) > 128)
    return len(np.unique(np.nonzero(bright)[0])), len(np.unique(np.nonzero(bright)[1]))


def tone_at(path: Path, second: float, scratch: Path) -> tuple[float, float]:
    """Return the strongest frequency of a tenth of a second, and its level (RMS, full scale 1)."""
    sound = scratch / "sound.wav"
    with av.open(str(path)) as source, av.open(str(sound), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        for frame in source.decode(audio=0):
            frame.pts = None
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    with wave.open(str(sound)) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)[::2] / 32768
    part = raw[int(second * RATE) : int((second + 0.1) * RATE)]
    power = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    return float(np.argmax(power) * RATE / len(part)), float(np.sqrt((part**2).mean()))


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy", "copy"])
@pytest.mark.parametrize(("before_s", "after_s"), [(1.0, 0.4), (0.0, 0.4), (0.2, 0.0)])
def test_pictures_stand_before_and_after_to_the_frame(
    name: str, before_s: float, after_s: float, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    before, after = (
        Bumper(solid(tmp_path / "red.png", (300, 100), RED), Fraction(str(before_s))),
        Bumper(solid(tmp_path / "blue.png", (50, 50), BLUE), Fraction(str(after_s))),
    )
    edit = edit_of(fit, Brand(before, after, background=BACKGROUND))
    frames = rendered(name, edit, ffmpeg, tmp_path)
    first, last = round(before_s * 25), round(after_s * 25)
    assert len(frames) == first + 63 + last
    assert numbers(frames[first : first + 63]) == list(range(10, 73))
    background = tuple(bytes.fromhex(BACKGROUND[1:]))
    for frame in frames[:first]:  # 300:100 in 16:9 fills the width
        assert is_colour(frame[60:120, 8:-8], RED)
        assert is_colour(frame[4:24, 8:-8], background)
    for frame in frames[first + 63 :]:  # a square fills the height, and is enlarged
        assert is_colour(frame[8:-8, 80:-80], BLUE)
        assert is_colour(frame[8:-8, 4:60], background)


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy", "copy"])
@pytest.mark.parametrize("size", [(1920, 1), (3, 1920)])
@pytest.mark.parametrize("share", [Fraction(1), LOGO_SHARE])
def test_very_thin_picture_is_a_line(
    name: str, size: tuple[int, int], share: Fraction, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    """Scaled into the frame one of its sides is less than half a pixel."""
    still = Bumper(solid(tmp_path / "line.png", size, WHITE), Fraction(1, 5), share)
    brand = Brand(still, still, background="#000000")
    frames = rendered(name, edit_of(fit, brand), ffmpeg, tmp_path)
    assert numbers(frames[5:-5]) == list(range(10, 73))
    for frame in (frames[0], frames[-1]):
        lines, columns = bright_lines(frame)
        long, short = (columns, lines) if size[0] > size[1] else (lines, columns)
        side = 320 if size[0] > size[1] else 180
        assert (short, long) == (1, pytest.approx(side * share, abs=2))


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize(("size", "aspect"), [((1920, 16), Aspect.TALL), ((16, 1080), Aspect.WIDE)])
def test_very_thin_video_is_a_line(
    name: str, size: tuple[int, int], aspect: Aspect, fit: Path, make: Make, ffmpeg: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = make(
        f"-f lavfi -i color=white:s={size[0]}x{size[1]}:r=25:d=0.2 {TONE} -t 0.2", "thin.mp4"
    )
    video = Bumper(path, Fraction(1, 5), is_video=True)
    edit = edit_of(fit, Brand(video, None, background="#000000"), aspect=aspect)
    frame = rendered(name, edit, ffmpeg, tmp_path)[0]
    expected = (2, edit.width) if size[0] > size[1] else (edit.height, 2)
    assert bright_lines(frame) == expected


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize(("rate", "frames"), [("60", 1), ("25", 1), ("60", 3), ("50", 7)])
def test_short_videos_are_shown(
    name: str, rate: str, frames: int, fit: Path, numbered: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """A video of less than half a frame of the clip is one frame of it."""
    path = numbered(frames, rate, "short.mp4", TAGS, first=500)
    video = Bumper(path, Fraction(frames, int(rate)), is_video=True)
    shown = numbers(rendered(name, edit_of(fit, Brand(video, video)), ffmpeg, tmp_path))
    count = video.frames(Fraction(25))
    assert shown[count:-count] == list(range(10, 73))
    assert all(500 <= number < 500 + frames for number in shown[:count] + shown[-count:])


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
def test_video_of_another_shape_has_the_same_size_in_each_renderer(
    name: str, numbered: Make, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """16:9 in a frame of 216 x 384 is 121.5 lines high, so 122."""
    path = numbered(100, "25", "upright.mp4", FIT, size=(216, 384))
    intro = make(f"-f lavfi -i color=white:s=320x180:r=25:d=0.2 {TONE} -t 0.2 {TAGS}", "intro.mp4")
    video = Bumper(intro, Fraction(1, 5), is_video=True)
    edit = edit_of(path, Brand(video, None, background="#000000"), aspect=Aspect.TALL)
    assert (edit.width, edit.height) == (216, 384)
    assert bright_lines(rendered(name, edit, ffmpeg, tmp_path)[1]) == (122, 216)


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
def test_watermark_is_over_the_content_alone(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    still = Bumper(solid(tmp_path / "red.png", (160, 90), RED), Fraction(1, 5))
    mark = solid(tmp_path / "mark.png", (100, 50), (*GREEN, 255))
    shares = (Fraction(1, 5), Fraction(1, 2))
    brand = Brand(still, still, Watermark(mark, 100, 50, *shares, Place.TOP_RIGHT))
    frames = rendered(name, edit_of(fit, brand), ffmpeg, tmp_path)
    plain = rendered(name, edit_of(fit, Brand(still, still)), ffmpeg, tmp_path)
    assert len(frames) == len(plain) == 5 + 63 + 5
    # A fifth of 320 wide, half as high, 4 from the edges.
    box = slice(4, 36), slice(320 - 4 - 64, 320 - 4)
    inner = slice(8, 32), slice(320 - 64, 320 - 8)
    for frame, other in zip(frames[5:-5], plain[5:-5], strict=True):
        mixed = (other[inner].astype(float) + np.array(GREEN)) / 2
        assert np.abs(frame[inner] - mixed).mean() < 10
        outside = np.ones(frame.shape[:2], bool)
        outside[box] = False
        assert np.abs(frame[outside].astype(int) - other[outside]).mean() < 3
    for frame in [*frames[:5], *frames[-5:]]:
        assert is_colour(frame[4:-4, 4:-4], RED)


def discs(path: Path, size: tuple[int, int], *, is_light: bool) -> Path:
    """Draw discs of white or black; what is transparent between them has the other colour."""
    ink, paper = (WHITE, BLACK) if is_light else (BLACK, WHITE)
    picture = Image.new("RGBA", size, (*paper, 0))
    step = size[1] // 6
    for left in range(step, size[0] - step, 2 * step):
        ImageDraw.Draw(picture).ellipse((left, step, left + step, 5 * step), fill=(*ink, 255))
    picture.save(path)
    return path


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize("is_light", [True, False])
def test_watermark_has_no_outline_of_what_is_transparent(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path, *, is_light: bool
) -> None:
    mark = discs(tmp_path / "mark.png", (1200, 600), is_light=is_light)
    brand = Brand(watermark=Watermark(mark, 1200, 600, Fraction(1, 2), Fraction(1)))
    frames = rendered(name, edit_of(fit, brand), ffmpeg, tmp_path)
    plain = rendered(name, edit_of(fit, Brand()), ffmpeg, tmp_path)
    for frame, other in zip(frames, plain, strict=True):
        lighter = (frame.astype(int) - other) * (1 if is_light else -1)
        assert lighter.min() > -40  # what the encoder changes around edges
        assert lighter.max() > 100


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy", "copy"])
@pytest.mark.parametrize("is_light", [True, False])
def test_logo_has_no_outline_of_what_is_transparent(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path, *, is_light: bool
) -> None:
    logo = discs(tmp_path / "logo.png", (1200, 600), is_light=is_light)
    colour = WHITE if is_light else BLACK
    still = Bumper(logo, Fraction(1, 5), LOGO_SHARE)
    brand = Brand(still, still, background="#" + bytes(colour).hex())
    frames = rendered(name, edit_of(fit, brand), ffmpeg, tmp_path)
    for frame in [*frames[:5], *frames[-5:]]:
        assert is_colour(frame, colour)


def test_stream_copy_does_not_render_watermarks(fit: Path, ffmpeg: str, tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "mark.png", 10, 10, Fraction(1, 5), Fraction(1))
    assert renderer("copy", ffmpeg).can_render(edit_of(fit, Brand()))
    assert not renderer("copy", ffmpeg).can_render(edit_of(fit, Brand(watermark=mark)))


def test_verification_compares_around_the_largest_watermark(
    fit: Path, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    mark = solid(tmp_path / "mark.png", (100, 100), (*WHITE, 255))
    large = Watermark(mark, 100, 100, Fraction(1, 2), Fraction(1), Place.CENTER)
    edit = edit_of(fit, Brand(watermark=large))
    rendered("ffmpeg", edit, ffmpeg, tmp_path)
    verify_clip(tmp_path / "clip.mp4", edit)
    other = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=4 {TONE} -c:v libx264 {FIT}", "other.mp4")
    with pytest.raises(ClipRejected):
        verify_clip(tmp_path / "clip.mp4", replace(edit, source_path=other))


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy"])
def test_padding_has_the_brands_background(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    edit = edit_of(fit, Brand(background=BACKGROUND), aspect=Aspect.SQUARE, fit=Fit.PAD)
    frames = rendered(name, edit, ffmpeg, tmp_path)
    assert len(frames) == 63
    background = tuple(bytes.fromhex(BACKGROUND[1:]))
    assert all(is_colour(frame[4:60, 4:-4], background) for frame in frames)


@pytest.mark.parametrize("name", ["ffmpeg", "moviepy", "copy"])
def test_videos_stand_before_and_after_with_their_sound(
    name: str, fit: Path, numbered: Make, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    """Their rate becomes the clip's: 30 pictures at 30 fps are 25 of every grid time."""
    intro = numbered(30, "30", "intro.mp4", TAGS, first=500, sound=False)
    tone = f"-f lavfi -i sine=frequency={TONE_HZ}:r=48000:d=1"
    loud = make(f"-i {intro} {tone} -c:v copy -c:a aac -ac 2", "loud.mp4")
    video = Bumper(loud, Fraction(1), is_video=True)
    frames = rendered(name, edit_of(fit, Brand(video, video)), ffmpeg, tmp_path)
    assert len(frames) == 25 + 63 + 25
    assert numbers(frames[25:-25]) == list(range(10, 73))
    for shown in (numbers(frames[:25]), numbers(frames[-25:])):
        assert len(shown) == 25
        # At 25 fps frame k shows the picture whose time is nearest before or at k/25.
        assert all(abs(level - (500 + k * 30 / 25)) <= 1 for k, level in enumerate(shown))
        assert shown == sorted(set(shown))
    clip = tmp_path / "clip.mp4"
    for second in (0.1, 0.85, 25 / 25 + 63 / 25 + 0.1, 25 / 25 + 63 / 25 + 0.8):
        assert tone_at(clip, second, tmp_path)[0] == pytest.approx(TONE_HZ, abs=25)
    for second in (1.05, 2.3, 3.4):  # the content's own tone
        assert tone_at(clip, second, tmp_path)[0] == pytest.approx(440, abs=25)
