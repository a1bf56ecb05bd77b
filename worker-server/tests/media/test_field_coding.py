"""H.264 whose fields are packets of their own, as broadcasters and camcorders send it."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest
from h264_testing import luma_of, pictures, write, write_without_second_stamps

from worker_server.media import Source

Prepared = Callable[[Path], tuple[Source, Path]]


def _lumas(path: Path) -> list[float]:
    """Return the mean luma of each frame."""
    with av.open(str(path)) as container:
        return [
            float(frame.to_ndarray(format="yuv420p")[: frame.height].mean())
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize("with_frames", [False, True])
@pytest.mark.parametrize("suffix", ["ts", "mkv", "flv"])
def test_two_fields_are_one_frame(
    suffix: str, with_frames: bool, prepared: Prepared, tmp_path: Path
) -> None:
    coded = pictures(range(36), with_frames=with_frames)
    _check_frames(prepared(write(tmp_path / f"a.{suffix}", coded)), range(36))


@pytest.mark.parametrize("with_frames", [False, True])
def test_second_fields_without_stamps(
    with_frames: bool, prepared: Prepared, tmp_path: Path
) -> None:
    coded = pictures(range(36), with_frames=with_frames)
    _check_frames(prepared(write_without_second_stamps(tmp_path / "a.ts", coded)), range(36))


@pytest.mark.parametrize("with_frames", [False, True])
@pytest.mark.parametrize("begin", [1, 5, 11])
def test_recording_begins_within_a_group(
    begin: int, with_frames: bool, prepared: Prepared, tmp_path: Path
) -> None:
    """Frames from before the first parameter sets are shown only by some decoders."""
    coded = pictures(range(begin, 48), with_frames=with_frames)
    source, path = prepared(write_without_second_stamps(tmp_path / "a.ts", coded))
    first = 48 - source.frame_count
    assert first in (begin, 12)
    _check_frames((source, path), range(first, 48))


def _check_frames(prepared: tuple[Source, Path], frames: range) -> None:
    source, path = prepared
    assert (source.frame_rate, source.frame_count) == (25, len(frames))
    assert _lumas(path) == pytest.approx([luma_of(frame) for frame in frames], abs=2)
