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
from worker_server.media.model.transport_stream import JoinedStream, find_program_ranges


def open_source(path: Path, demuxer: str) -> InputContainer:
    """Open a local file with this demuxer only; nothing inside can make ffmpeg open another file.

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
            # The container's whitelist covers decoders that the demuxer opens; others need theirs.
            stream.codec_context.options = {
                "codec_whitelist": CODEC_WHITELIST,
                "max_pixels": str(MAX_PIXELS),
            }
    return container


def _readable(path: Path, demuxer: str) -> str | io.RawIOBase:
    """Return the file's URL; for a joined MPEG-TS or a cut-off MP4, a file object that mends it."""
    if demuxer == "mpegts":
        program_ranges = find_program_ranges(path)
        if any(program_range.pids for program_range in program_ranges):
            return JoinedStream(path, program_ranges)
    if demuxer == "mov" and (size_bytes := whole_bytes(path)):
        return FileStart(path, size_bytes)
    return f"file:{path}"


def packets_of(container: InputContainer, *streams: Stream) -> "Iterator[av.Packet[Any]]":
    """Yield the packets of these streams (none given: of all); an empty packet ends each stream.

    Streams that libavformat finds only while reading are left out: PyAV raises IndexError when it
    flushes one of those, after all others.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return


def may_decode(stream: Stream) -> bool:
    """Return whether ffmpeg has a decoder for the stream that `DECODERS` allows."""
    # PyAV has no context where it has no decoder.
    context = stream.codec_context
    return context is not None and context.codec.name in DECODERS
