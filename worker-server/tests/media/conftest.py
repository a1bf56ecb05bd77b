"""Sources made with ffmpeg, some with numbered frames, and the reader of the numbers."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from media_testing import read_numbers

from idrl_testing.numbered import number_in, pictures
from idrl_testing.processes import child_pids
from worker_server.media import (
    ChildFiles,
    ClipFacts,
    FrameRange,
    PartEdit,
    Preparation,
    PrepareWatch,
    Profile,
    RenderWatch,
    Source,
    plan_parts,
    prepare,
    probe,
    render as media_render,
    renderer,
    run_encoder,
)

_FAST = Profile("ultrafast", 18, 1)


@dataclass(frozen=True)
class Clip:
    """A rendered part, checked."""

    path: Path
    edit: PartEdit
    facts: ClipFacts

    def numbers(self) -> list[int]:
        """The numbers in the frames of the part, without the logo."""
        bumper = self.edit.frames_before
        return read_numbers(self.path)[bumper : bumper + self.edit.part.frame_count]

    @staticmethod
    def number_in(frame: av.VideoFrame) -> int:
        return number_in(np.asarray(frame.to_ndarray(format="gray"), np.uint8))


@pytest.fixture
def numbers_in() -> Callable[[Path], list[int]]:
    """Read the number in each frame of a file."""
    return read_numbers


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="session")
def make(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run ffmpeg with these arguments (spaces separate them in a string); return its file."""
    folder = tmp_path_factory.mktemp("made")
    made = count()

    def run(arguments: str, name: str, *more: str, stdin: bytes = b"") -> Path:
        path = folder / f"{next(made)}-{name}"
        command = [ffmpeg, "-v", "error", "-y", *arguments.split(), *more, str(path)]
        subprocess.run(command, input=stdin, check=True, timeout=60)
        return path

    return run


@pytest.fixture(scope="session")
def numbered(make: Callable[..., Path]) -> Callable[..., Path]:
    """Make a source whose frame k shows the number k, with a tone."""

    def run(
        frames: int,
        rate: str,
        name: str,
        options: str = "",
        *,
        size: tuple[int, int] = (320, 180),
        sound: bool = True,
        first: int = 0,
    ) -> Path:
        width, height = size
        raw = pictures(range(first, first + frames), width, height)
        duration_s = float(frames / Fraction(rate))
        tone = f"-f lavfi -i sine=r=44100:d={duration_s} -c:a aac" if sound else ""
        read = f"-f rawvideo -pix_fmt gray -s {width}x{height} -framerate {rate} -i pipe:0"
        write = (
            options if "-c:v" in options else f"-c:v libx264 -preset ultrafast -crf 10 {options}"
        )
        return make(f"{read} {tone} -pix_fmt yuv420p {write}", name, stdin=raw)

    return run


@pytest.fixture(scope="session")
def plain_source() -> Source:
    """The facts of a second of 1080p, of a file that is not there."""
    return Source(
        demuxer="mov",
        size_bytes=1,
        duration_s=Fraction(1),
        video_index=0,
        video_codec="h264",
        width=1920,
        height=1080,
        pix_fmt="yuv420p",
        sample_aspect=Fraction(1),
        rotation=0,
        varies=False,
        mirrored=False,
        interlaced=False,
        colour_matrix=1,
        colour_primaries=1,
        colour_transfer=1,
        full_range=False,
        frame_rate=Fraction(25),
        is_vfr=False,
        frame_count=25,
        packet_count=25,
        origin_s=Fraction(0),
        last_pts_s=Fraction(24, 25),
        reorder_delay_s=Fraction(0),
        seeks_by_pts=False,
        keyframe_reorder_delay_s=Fraction(0),
        is_indexed=True,
        video_streams=1,
        has_audio=False,
        audio_index=-1,
        audio_codec="",
        audio_channels=0,
        preparation=Preparation.NONE,
        irregular="",
    )


@pytest.fixture
def render(ffmpeg: str, tmp_path: Path) -> Callable[..., Clip]:
    """Render one part and check it."""

    def run(
        source: Source, path: Path, part: FrameRange, *, engine: str = "ffmpeg", **options: object
    ) -> Clip:
        edit = PartEdit.of(source, path, part, **({"profile": _FAST} | options))  # type: ignore[arg-type] # any
        output = tmp_path / f"{engine}-{part.number}.mp4"
        clip = media_render(edit, output, [renderer(engine, ffmpeg)], RenderWatch())
        return Clip(output, edit, clip.facts)

    return run


@pytest.fixture
def copy(ffmpeg: str, tmp_path: Path) -> Callable[..., Clip]:
    """Make one part by copying, and check it."""

    def run(source: Source, path: Path, part: FrameRange, **options: object) -> Clip:
        edit = PartEdit.of(source, path, part, **({"profile": _FAST} | options))  # type: ignore[arg-type] # any
        output = tmp_path / f"copied-{part.number}.mp4"
        clip = media_render(edit, output, [renderer("copy", ffmpeg)], RenderWatch())
        return Clip(output, edit, clip.facts)

    return run


@pytest.fixture
def prepared(ffmpeg: str, tmp_path: Path) -> Callable[[Path], tuple[Source, Path]]:
    """Probe a file, and prepare it for cutting; return its facts and its path."""

    def run(path: Path) -> tuple[Source, Path]:
        return prepare(probe(path), path, tmp_path / "prepared.mkv", PrepareWatch(ffmpeg))

    return run


@pytest.fixture
def render_all(
    prepared: Callable[[Path], tuple[Source, Path]], render: Callable[..., Clip]
) -> Callable[..., list[Clip]]:
    """Probe a file, rewrite it if it needs that, and render all of its parts."""

    def run(path: Path, part_s: int = 1, **options: object) -> list[Clip]:
        source, path = prepared(path)
        return [render(source, path, part, **options) for part in plan_parts(source, part_s)]

    return run


def run_to_end(command: list[str], frames: int, scratch: Path, files: ChildFiles) -> None:
    run_encoder(
        command,
        total_frames=frames,
        on_progress=lambda _: None,
        should_stop=lambda: False,
        scratch=scratch,
        files=files,
        timeout_s=60,
    )


@pytest.fixture
def joined_numbers() -> Callable[[list[Clip]], list[int]]:
    """Return the numbers of all parts, one after the other."""

    def run(clips: list[Clip]) -> list[int]:
        return [number for clip in clips for number in clip.numbers()]

    return run


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """No test may leave a child of this process behind; fixtures' servers are not children."""
    before = child_pids(os.getpid())
    yield
    assert child_pids(os.getpid()) - before == set()
