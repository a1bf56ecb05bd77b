"""MPEG-TS with long stretches that are no packets: reserved space, or clusters of a bad card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers

Make = Callable[..., Path]

# libavformat gives up, and goes on when asked again, where 64 KiB have no packet.
PADDING_BYTES = 300_000
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 10"


@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["zeros", "ones"])
@pytest.mark.parametrize("share", [0.5, 1])
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
