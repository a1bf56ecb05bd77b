"""Opens local media files with PyAV."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Stream

from worker_server.media.model.codecs import CODEC_WHITELIST, DECODERS, MAX_PIXELS
from worker_server.media.model.fragments import FileStart, whole_bytes
from worker_server.media.model.transport_stream import JoinedStream, pieces_of


def open_source(path: Path, demuxer: str) -> InputContainer:
    """Open a local file with this demuxer only; nothing inside can make it open another.

    Only streams that `may_decode` accepts can be decoded.
    """
    container = av.open(
        _readable(path, demuxer),
        "r",
        format=demuxer,
        options={"protocol_whitelist": "file", "codec_whitelist": CODEC_WHITELIST},
        metadata_errors="replace",
    )
    for stream in container.streams:
        if may_decode(stream):
            # The container's list holds for what the demuxer decodes; each decoder has its own.
            stream.codec_context.options = {
                "codec_whitelist": CODEC_WHITELIST,
                "max_pixels": str(MAX_PIXELS),
            }
    return container


def _readable(path: Path, demuxer: str) -> str | io.RawIOBase:
    """Return the file, or what makes one of it that libavformat reads whole."""
    if demuxer == "mpegts":
        pieces = pieces_of(path)
        if any(piece.pids for piece in pieces):
            return JoinedStream(path, pieces)
    if demuxer == "mov" and (size_bytes := whole_bytes(path)):
        return FileStart(path, size_bytes)
    return f"file:{path}"


def packets_of(container: InputContainer, *streams: Stream) -> "Iterator[av.Packet[Any]]":
    """Yield the packets of these streams, of all without any; each stream ends with an empty one.

    Streams that begin later in the file are left out. PyAV goes beyond its list of streams when it
    ends one of those, behind all others.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return


def may_decode(stream: Stream) -> bool:
    """Tell whether there is a decoder for the stream, and it is one of those allowed."""
    # PyAV has no context where it has no decoder.
    context = stream.codec_context
    return context is not None and context.codec.name in DECODERS
