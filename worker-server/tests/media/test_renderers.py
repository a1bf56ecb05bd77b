"""The contract of `Renderer`, kept by every renderer; and the order in which they are tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from worker_server.media import (
    EncodeFailed,
    FrameRange,
    PartEdit,
    Profile,
    RenderWatch,
    Stopped,
    plan_parts,
    probe,
    render,
    renderer,
    renderers,
)
from worker_server.media.rendering.renderers import RENDERERS

Make = Callable[..., Path]
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
FIT = f"-profile:v high -8x8dct 1 -bf 2 -g 10 {TAGS}"
RATE = 48_000

each_renderer = pytest.mark.parametrize("name", RENDERERS)


@pytest.fixture(scope="session")
def fit(numbered: Make) -> Path:
    """Four seconds at 25 fps that every renderer can render."""
    return numbered(100, "25", "fit.mp4", FIT)


def edit_of(path: Path, start: int, end: int, **options: Any) -> PartEdit:  # noqa: ANN401 # passed on
    source = probe(path)
    frames = FrameRange(0, start, end, source.frame_rate)
    return PartEdit.of(source, path, frames, **({"profile": Profile("ultrafast", 18, 1)} | options))


def rendered(name: str, edit: PartEdit, ffmpeg: str, scratch: Path) -> Path:
    output = scratch / "clip.mp4"
    render(edit, output, [renderer(name, ffmpeg)], RenderWatch())
    return output


def gray_frames(path: Path) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    with av.open(str(path)) as container:
        return [
            np.asarray(frame.to_ndarray(format="gray"), np.uint8)
            for frame in container.decode(video=0)
        ]


@each_renderer
@pytest.mark.parametrize(("start", "end"), [(0, 100), (7, 61), (50, 100)])
def test_frames_are_those_of_the_part(
    name: str,
    start: int,
    end: int,
    fit: Path,
    ffmpeg: str,
    tmp_path: Path,
    numbers_in: Callable[[Path], list[int]],
) -> None:
    edit = edit_of(fit, start, end)
    assert renderer(name, ffmpeg).can_render(edit)
    numbers = numbers_in(rendered(name, edit, ffmpeg, tmp_path))
    assert len(numbers) == end - start + 50
    assert numbers[25:-25] == list(range(start, end))


@each_renderer
def test_both_bumpers_show_the_logo_and_nothing_else(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    frames = gray_frames(rendered(name, edit_of(fit, 0, 100), ffmpeg, tmp_path))
    logo = frames[0].astype(int)
    assert logo.max() - logo.min() > 60
    for bumper_frame in (*frames[:25], *frames[-25:]):
        assert np.abs(bumper_frame - logo).mean() < 2
    assert min(np.abs(frames[index] - logo).mean() for index in (25, -26)) > 20


@each_renderer
def test_without_a_logo_the_clip_is_the_part(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path, numbers_in: Callable[[Path], list[int]]
) -> None:
    edit = edit_of(fit, 10, 73, logo_s=0.0)
    assert numbers_in(rendered(name, edit, ffmpeg, tmp_path)) == list(range(10, 73))


@each_renderer
def test_sound_begins_and_ends_with_the_part(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    with av.open(str(rendered(name, edit_of(fit, 25, 75), ffmpeg, tmp_path))) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.nonzero(np.abs(sound) > 0.02)[0] / RATE
    assert loud[0] == pytest.approx(1, abs=0.03)
    assert loud[-1] == pytest.approx(3, abs=0.03)


@each_renderer
def test_rendering_leaves_only_the_clip(name: str, fit: Path, ffmpeg: str, tmp_path: Path) -> None:
    output = rendered(name, edit_of(fit, 5, 60), ffmpeg, tmp_path)
    assert list(tmp_path.iterdir()) == [output]


@each_renderer
def test_building_a_command_touches_no_file(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    edit = edit_of(fit, 0, 100)
    fit_gone = PartEdit.from_json(edit.to_json() | {"source_path": str(tmp_path / "absent")})
    command = renderer(name, ffmpeg).command(fit_gone, tmp_path / "clip.mp4")
    assert all(isinstance(word, str) for word in command)
    assert list(tmp_path.iterdir()) == []


@each_renderer
def test_a_source_that_is_gone_is_not_blamed(
    name: str, fit: Path, ffmpeg: str, tmp_path: Path
) -> None:
    edit = edit_of(fit, 0, 100)
    gone = PartEdit.from_json(edit.to_json() | {"source_path": str(tmp_path / "absent")})
    with pytest.raises(EncodeFailed) as caught:
        rendered(name, gone, ffmpeg, tmp_path)
    assert caught.value.code == "encoder_failed"
    assert str(tmp_path) not in caught.value.message


@each_renderer
def test_progress_grows_to_one(name: str, fit: Path, ffmpeg: str, tmp_path: Path) -> None:
    seen: list[float] = []
    edit = edit_of(fit, 0, 100)
    render(edit, tmp_path / "o.mp4", [renderer(name, ffmpeg)], RenderWatch(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1


@each_renderer
def test_stop_ends_a_render(name: str, fit: Path, ffmpeg: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        render(
            edit_of(fit, 0, 100),
            tmp_path / "o.mp4",
            [renderer(name, ffmpeg)],
            RenderWatch(should_stop=lambda: True),
        )


def test_stream_copy_comes_before_the_default_engine_alone(ffmpeg: str) -> None:
    def order(engine: str, *, stream_copy: bool) -> list[str]:
        *tried, last = renderers(engine, ffmpeg, stream_copy=stream_copy)
        assert last.conceals
        assert not any(attempted.conceals for attempted in tried)
        return [type(attempted).__name__ for attempted in tried]

    assert order("ffmpeg", stream_copy=True) == ["StreamCopyRenderer", "FfmpegRenderer"]
    assert order("ffmpeg", stream_copy=False) == ["FfmpegRenderer"]
    assert order("moviepy", stream_copy=True) == ["MoviePyRenderer"]


def test_the_first_renderer_that_can_makes_the_clip(fit: Path, ffmpeg: str, tmp_path: Path) -> None:
    both = renderers("ffmpeg", ffmpeg, stream_copy=True)
    clip = render(edit_of(fit, 0, 100), tmp_path / "o.mp4", both, RenderWatch())
    assert (clip.rendered_by, clip.facts.frames) == ("copy", 150)


@pytest.mark.parametrize(
    ("options", "frames"),
    [("-g 100 -sc_threshold 0", (20, 90)), ("-pix_fmt yuv444p", (0, 100))],
)
def test_after_a_renderer_that_cannot_comes_the_next(
    options: str,
    frames: tuple[int, int],
    numbered: Make,
    ffmpeg: str,
    tmp_path: Path,
    numbers_in: Callable[[Path], list[int]],
) -> None:
    """Only the stream shows the distance of key frames; the pixel format is known before."""
    path = numbered(100, "25", "unfit.mp4", f"-c:v libx264 -crf 10 {options} {TAGS}")
    output = tmp_path / "o.mp4"
    both = renderers("ffmpeg", ffmpeg, stream_copy=True)
    clip = render(edit_of(path, *frames), output, both, RenderWatch())
    assert clip.rendered_by == "encode"
    assert numbers_in(output)[25:-25] == list(range(*frames))


def test_without_a_renderer_that_can_it_is_an_error(
    numbered: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = numbered(10, "25", "unfit.mp4", "-c:v libx264 -pix_fmt yuv444p")
    [part] = plan_parts(probe(path))
    edit = edit_of(path, part.start_frame, part.end_frame)
    with pytest.raises(ValueError, match="no renderer"):
        render(edit, tmp_path / "o.mp4", [renderer("copy", ffmpeg)], RenderWatch())
