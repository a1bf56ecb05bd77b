"""Finds streams of reordered pictures whose PTS are in fact decoding times."""

from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext

from worker_server.media.model.containers import open_source, packets_of

# An encoder that uses B-frames does so within this many packets.
_PACKETS = 100


def lacks_display_times(path: Path, demuxer: str, video_index: int) -> bool:
    """Return whether PTS go up from packet to packet though the decoder reorders the pictures.

    Some muxers leave out the composition offsets (`ctts` in MP4), so PTS equal DTS: then the n-th
    picture shown has the n-th PTS. Where some packets have no PTS, those of the others are right.
    """
    with open_source(path, demuxer) as container:
        video = container.streams[video_index]
        context = video.codec_context
        if not isinstance(context, VideoCodecContext) or not context.has_b_frames:
            return False
        packets = list(islice(packets_of(container, video), _PACKETS))
        stamps = [packet.pts for packet in packets if packet.pts is not None]
        if len(stamps) < max(2, len(packets) - 1):  # the flush packet has no timestamp
            return False
        ascend = all(earlier < later for earlier, later in pairwise(stamps))
        return ascend and _is_reordered(context, packets)


def _is_reordered(context: VideoCodecContext, packets: "list[av.Packet[Any]]") -> bool:
    """Return whether the decoder shows the pictures of these packets in another order."""
    context.copy_opaque, context.thread_count = True, 1
    shown: list[Any] = []
    for number, packet in enumerate(packets):
        packet.opaque = number
        with suppress(av.error.FFmpegError):  # the stream may start inside a GOP
            shown += [frame.opaque for frame in context.decode(packet)]
    return any(earlier > later for earlier, later in pairwise(shown))
