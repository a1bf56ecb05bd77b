"""Opens local media files with PyAV."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import AudioStream, VideoStream
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext

from worker_server.media.model.codecs import CODEC_WHITELIST, DECODERS, MAX_PIXELS
from worker_server.media.model.composition import CompositionShift, composition_shift
from worker_server.media.model.edit import SEEK_MARGIN_S
from worker_server.media.model.fragments import FilePart, whole_bytes
from worker_server.media.model.ogg_chain import ChainClock, FirstLink, links_of
from worker_server.media.model.transport_stream import JoinedStream, find_program_ranges

_RESYNC_BYTES = 1 << 16  # in which libavformat looks for the next packet of MPEG-TS


def open_source(path: Path, demuxer: str) -> InputContainer:
    """Open a local file with this demuxer only; nothing inside can make ffmpeg open another file.

    Only streams that `may_decode` accepts can be decoded.
    """
    return _opened(_readable(path, demuxer), demuxer)


def _opened(file: str | io.RawIOBase, demuxer: str) -> InputContainer:
    container = av.open(
        file,
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
        if isinstance(stream, VideoStream) and may_decode(stream):
            crop_exactly(stream.codec_context)
        if demuxer == "mov" and not isinstance(stream, VideoStream | AudioStream):
            # Samples of text or of a camera's data that are not in the file would end the reading.
            stream.discard = Discard.all
    return container


def crop_exactly(context: VideoCodecContext) -> None:
    """Let the decoder crop any number of columns at the left, as the command ffmpeg does.

    By default libavcodec crops there by whole blocks of memory alignment only, so that pictures
    stay wider than their headers say.
    """
    context.flags |= Flags.unaligned


def _readable(path: Path, demuxer: str) -> str | io.RawIOBase:
    """Return the file's URL; a joined MPEG-TS or Ogg and a cut-off MP4 as a repaired file."""
    if demuxer == "mpegts":
        program_ranges = find_program_ranges(path)
        if any(program_range.pids for program_range in program_ranges):
            return JoinedStream(path, program_ranges)
    if demuxer == "mov" and (size_bytes := whole_bytes(path)):
        return FilePart(path, 0, size_bytes)
    if demuxer == "ogg" and len(links := links_of(path)) > 1:
        return FirstLink(path, links)
    return f"file:{path}"


def packets_of(container: InputContainer, *streams: Stream) -> "Iterator[av.Packet[Any]]":
    """Yield the packets of these streams (none given: of all); an empty packet ends each stream.

    Of a chained Ogg they are those of all links: the later links' packets belong to streams of
    their own, which have the indexes, and here also the clocks, of the first link's. Pictures of
    fragmented MP4 have the times that the file gives, where libavformat has later ones.
    """
    link = getattr(container.file, "file", None)
    if not isinstance(link, FirstLink):
        shifts = composition_shifts(container)
        for packet in _packets(container, streams):
            shift = shifts.get(packet.stream.index)
            if shift and shift.ticks and (packet.pos or 0) >= shift.begin:
                _add_ticks(packet, -shift.ticks)
            yield packet
        return
    wanted = {stream.index for stream in streams or container.streams}
    clock = ChainClock(container)
    for packet in _packets(container, ()):
        clock.follow(packet)
        if packet.stream.index in wanted:
            yield packet
    for later in link.later:
        with suppress(av.error.InvalidDataError, av.error.EOFError):
            yield from _packets_of_link(FilePart(link.path, *later), clock, wanted)


def composition_shifts(container: InputContainer) -> dict[int, CompositionShift]:
    """Return the shift of the pictures of each video stream, by the stream's index."""
    if not container.format.name.startswith("mov"):
        return {}
    part = getattr(container.file, "file", None)
    path = part.path if isinstance(part, FilePart) else Path(container.name.removeprefix("file:"))
    return {stream.index: composition_shift(path, stream.id) for stream in container.streams.video}


def _add_ticks(packet: "av.Packet[Any]", ticks: int) -> None:
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _packets_of_link(
    file: FilePart, clock: ChainClock, wanted: set[int]
) -> "Iterator[av.Packet[Any]]":
    with _opened(file, "ogg") as container:
        clock.begin_link(container)
        for packet in _packets(container, ()):
            if clock.has_stream(packet.stream):
                clock.set(packet)
                clock.follow(packet)
                if packet.stream.index in wanted:
                    yield packet


def _packets(container: InputContainer, streams: Sequence[Stream]) -> "Iterator[av.Packet[Any]]":
    """Yield the packets that libavformat finds.

    Empty packets by which Theora repeats a picture are left out: they would end the decoder.
    Streams that it finds only while reading are left out: PyAV raises IndexError when it flushes
    one of those, after all others. Where an MPEG-TS has no packet in 64 KiB, as in space that a
    recorder reserved, libavformat continues after them when asked again.
    """
    for left in reversed(range(1 + container.size // _RESYNC_BYTES)):
        try:
            for packet in container.demux(*streams):
                if packet.size or (packet.pts is None and packet.dts is None):
                    yield packet
        except av.error.BlockingIOError:
            if left:
                continue
            raise
        except IndexError:
            pass
        return


def seek_sound(
    container: InputContainer, sound: AudioStream, at_s: Fraction, video_index: int
) -> None:
    """Seek so that all sound from `at_s` on can be read next; what is before may be read as well.

    Of Matroska only pictures are indexed: seeking by a stream of sound reads the file from its
    start. In a file that is not remuxed, sound is stored at most a second before its picture.
    """
    stream: Stream = sound
    if container.format.name.startswith("matroska"):
        stream, at_s = container.streams[video_index], at_s - SEEK_MARGIN_S
    container.seek(math.floor(at_s / (stream.time_base or 1)), stream=stream)


def may_decode(stream: Stream) -> bool:
    """Return whether ffmpeg has a decoder for the stream that `DECODERS` allows."""
    # PyAV has no context where it has no decoder.
    context = stream.codec_context
    return context is not None and context.codec.name in DECODERS
