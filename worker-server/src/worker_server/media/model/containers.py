"""Opens local media files with PyAV."""

from pathlib import Path

import av
from av.container import InputContainer


def open_source(path: Path, demuxer: str) -> InputContainer:
    """Open a local file with this demuxer only; nothing inside can make it open another."""
    return av.open(
        f"file:{path}",
        format=demuxer,
        options={"protocol_whitelist": "file"},
        metadata_errors="replace",
    )
