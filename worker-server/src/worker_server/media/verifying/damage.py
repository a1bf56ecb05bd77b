"""Counts the damaged frames of a part in its source."""

from collections.abc import Iterator
from typing import Any

import av
import av.logging
from av.container import InputContainer

from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import SEEK_OFFSET_FRAMES, frame_index

_MAX_REORDER = 32  # frames, the most a decoder delays output


def damaged_frames(container: InputContainer, edit: PartEdit) -> int:
    """Return how many frames of the part are stored but not decoded, or decoded with errors.

    A frame with a decoder error counts, however little of it is wrong; those that only
    refer to it do not.
    """
    video: Any = container.streams[edit.source.video_index]
    video.codec_context.thread_count = 1  # a warning then refers to the packet just sent
    _seek_to_part(container, video, edit)
    stored: set[int] = set()
    decoded: set[int] = set()
    faulty: set[int] = set()
    av.logging.set_level(av.logging.ERROR)
    for packet in _packets_of_part(container, video, edit):
        frames, has_errors = _decode(packet)
        decoded |= {_index(frame, edit) for frame in frames}
        if packet.size:
            stored.add(_index(packet, edit))
            faulty |= {_index(packet, edit)} if has_errors else set()
    part = set(range(edit.part.start_frame, edit.part.end_frame))
    return len(part & stored & (faulty | (stored - decoded)))


def _seek_to_part(
    container: InputContainer,
    video: Any,  # noqa: ANN401 # PyAV's
    edit: PartEdit,
) -> None:
    if edit.part.start_frame:
        shown_s = (edit.part.start_frame + SEEK_OFFSET_FRAMES) / edit.frame_rate
        container.seek(int(edit.source.seek_s(shown_s) / video.time_base), stream=video)


def _packets_of_part(
    container: InputContainer,
    video: Any,  # noqa: ANN401 # PyAV's
    edit: PartEdit,
) -> "Iterator[av.Packet[Any]]":
    """Yield packets up to the last one that can still hold a frame of the part."""
    for packet in container.demux(video):
        yield packet
        if _index(packet, edit) >= edit.part.end_frame + _MAX_REORDER:
            return


def _decode(packet: "av.Packet[Any]") -> tuple[list[Any], bool]:
    """Return the frames, and whether the decoder or the demuxer reported an error."""
    with av.logging.Capture() as warnings:
        frames = _decoded(packet)
    return frames, bool(warnings) or packet.is_corrupt


def _decoded(packet: "av.Packet[Any]") -> list[Any]:
    try:
        return list(packet.decode())
    except av.error.FFmpegError:
        return []


def _index(stamped: Any, edit: PartEdit) -> int:  # noqa: ANN401 # a packet or a frame
    """Return the index on the source's grid; -1 without a time stamp."""
    if stamped.pts is None:
        return -1
    return frame_index(stamped.pts * stamped.time_base - edit.source.origin_s, edit.frame_rate)
