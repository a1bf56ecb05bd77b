"""MPEG-TS with long stretches that are no packets: reserved space, or clusters of a bad card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers, refused

Make = Callable[..., Path]

# libavformat gives up, and goes on when asked again, where 64 KiB have no packet.
PADDING_BYTES = 300_000
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 10"


@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["zeros", "ones"])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_every_frame_around_the_padding(
    share: float,
    fill: bytes,
    numbered: Make,
    prepared: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    content = numbered(75, "25", "s.ts", X264).read_bytes()
    at = int(len(content) * share) // 188 * 188
    path = tmp_path / "padded.ts"
    path.write_bytes(content[:at] + fill * PADDING_BYTES + content[at:])
    source, ready = prepared(path)
    assert source.has_audio
    assert read_numbers(ready) == list(range(75))


@pytest.mark.parametrize("padding_bytes", [70_000, 1_000_000])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["zeros", "ones"])
def test_program_stream_after_reserved_space(
    fill: bytes,
    padding_bytes: int,
    numbered: Make,
    prepared: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    stream = numbered(50, "25", "s.mpg", "-c:v mpeg2video -q:v 2 -g 15 -an", sound=False)
    path = tmp_path / "s.mpg"
    path.write_bytes(fill * padding_bytes + stream.read_bytes())
    assert read_numbers(prepared(path)[1]) == list(range(50))


@pytest.mark.parametrize("content", [bytes(200_000), bytes(70_000) + b"<html>" * 20_000])
def test_reserved_space_alone_is_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.ts"
    path.write_bytes(content)
    assert refused(path) == "source_not_a_video"
