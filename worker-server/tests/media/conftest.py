"""Sources made with ffmpeg, some with their number in every frame, and what reads the numbers back."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import settings

from worker_server.media import (
    ChildFiles,
    ClipFacts,
    FrameRange,
    PartEdit,
    Profile,
    RenderWatch,
    Source,
    needs_remux,
    plan_parts,
    probe,
    remux_command,
    render as media_render,
    renderer,
    run_encoder,
)

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The number is written as ten cells, black or white, in a row across the middle of the frame.
_BITS = 10
_FAST = Profile("ultrafast", 18, 1)


@dataclass(frozen=True)
class Clip:
    """A rendered part, checked."""

    path: Path
    edit: PartEdit
    facts: ClipFacts

    def numbers(self) -> list[int]:
        """The numbers in the frames of the part, without the logo."""
        bumper = self.edit.bumper_frames
        return read_numbers(self.path)[bumper : bumper + self.edit.part.frame_count]

    @staticmethod
    def number_in(frame: av.VideoFrame) -> int:
        return _number(np.asarray(frame.to_ndarray(format="gray"), np.uint8))


def read_numbers(path: Path) -> list[int]:
    """Read the number in each frame."""
    with av.open(str(path)) as container:
        return [
            _number(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            for frame in container.decode(video=0)
        ]


@pytest.fixture
def numbers_in() -> Callable[[Path], list[int]]:
    """Read the number in each frame of a file."""
    return read_numbers


def _number(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> int:
    height, width = picture.shape
    row = picture[height // 2 - 4 : height // 2 + 4].mean(axis=0)
    # The middle 60 % of the width holds the cells, so that cropping to 16:9 keeps them.
    centres = [int(width * (0.2 + 0.6 * (bit + 0.5) / _BITS)) for bit in range(_BITS)]
    return sum(1 << bit for bit, centre in enumerate(centres) if row[centre] > 128)


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="session")
def make(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run ffmpeg with these arguments (a space in one string separates them) and return the file it wrote."""
    folder = tmp_path_factory.mktemp("made")
    made = iter(range(1000))

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
    ) -> Path:
        width, height = size
        raw = b"".join(_picture(number, width, height).tobytes() for number in range(frames))
        duration_s = float(frames / Fraction(rate))
        tone = f"-f lavfi -i sine=r=44100:d={duration_s} -c:a aac" if sound else ""
        read = f"-f rawvideo -pix_fmt gray -s {width}x{height} -framerate {rate} -i pipe:0"
        write = (
            options if "-c:v" in options else f"-c:v libx264 -preset ultrafast -crf 10 {options}"
        )
        return make(f"{read} {tone} -pix_fmt yuv420p {write}", name, stdin=raw)

    return run


def _picture(
    number: int, width: int, height: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    picture = np.full((height, width), 110, np.uint8)
    for bit in range(_BITS):
        left, right = (int(width * (0.2 + 0.6 * (bit + side) / _BITS)) for side in (0, 1))
        picture[height // 4 : height * 3 // 4, left:right] = 225 if number >> bit & 1 else 30
    return picture


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
    )


@pytest.fixture
def render(ffmpeg: str, tmp_path: Path) -> Callable[..., Clip]:
    """Render one part and check it."""

    def run(
        source: Source, path: Path, part: FrameRange, *, engine: str = "ffmpeg", **options: object
    ) -> Clip:
        edit = PartEdit.of(source, path, part, **({"profile": _FAST} | options))  # type: ignore[arg-type]
        output = tmp_path / f"{engine}-{part.number}.mp4"
        clip = media_render(edit, output, [renderer(engine, ffmpeg)], RenderWatch())
        return Clip(output, edit, clip.facts)

    return run


@pytest.fixture
def copy(ffmpeg: str, tmp_path: Path) -> Callable[..., Clip]:
    """Make one part by copying, and check it."""

    def run(source: Source, path: Path, part: FrameRange, **options: object) -> Clip:
        edit = PartEdit.of(source, path, part, **({"profile": _FAST} | options))  # type: ignore[arg-type]
        output = tmp_path / f"copied-{part.number}.mp4"
        clip = media_render(edit, output, [renderer("copy", ffmpeg)], RenderWatch())
        return Clip(output, edit, clip.facts)

    return run


@pytest.fixture
def render_all(
    ffmpeg: str, render: Callable[..., Clip], tmp_path: Path
) -> Callable[..., list[Clip]]:
    """Probe a file, rewrite it if it needs that, and render all of its parts."""

    def run(path: Path, part_s: int = 1, **options: object) -> list[Clip]:
        source = probe(path)
        if needs_remux(source):
            rewritten = tmp_path / "rewritten.mkv"
            files = ChildFiles((path,), (tmp_path,), (Path(ffmpeg),))
            command = remux_command(source, path, rewritten, ffmpeg)
            run_to_end(command, source.frame_count, tmp_path, files)
            path, source = rewritten, probe(rewritten)
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
    """No test may leave a child of this process behind; servers that fixtures started are none of its children."""
    before = _children()
    yield
    assert _children() - before == set()


def _children() -> set[str]:
    files = Path("/proc/self/task").glob("*/children")
    return {pid for file in files for pid in file.read_text().split()}
