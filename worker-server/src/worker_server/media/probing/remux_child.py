"""Remuxes an AVI whose pictures are stored out of order. Run by the command of `remux_command`.

AVI says when a packet is decoded and never when its picture is shown. The decoder knows the order
of the pictures, so everything is decoded once, and the n-th picture gets the n-th time.
"""

import json
import sys
from pathlib import Path
from typing import Any

import av
import av.logging

from worker_server.media.model.containers import open_source
from worker_server.media.model.source import Source
from worker_server.media.probing.intermediate import open_target
from worker_server.media.process.frame_progress import report_frame

# PTS must not precede DTS: move DTS back by more frames (AVI's ticks) than H.264 and HEVC reorder.
_DELAY = 32
_REPORT_EVERY = 100


def picture_times(path: Path, source: Source) -> dict[int, int]:
    """Return when each packet's picture is shown, by packet number, if it has a picture."""
    shown: list[Any] = []
    times: list[int] = []
    with open_source(path, source.demuxer) as container:
        video: Any = container.streams[source.video_index]
        video.codec_context.copy_opaque = True
        for number, packet in enumerate(container.demux(video)):
            if packet.dts is not None:
                packet.opaque = number
                times.append(packet.dts)
            shown += [frame.opaque for frame in packet.decode()]
            if number % _REPORT_EVERY == 0:
                report_frame(number)
    return dict(zip(shown, sorted(times), strict=False))


def rewrite(path: Path, source: Source, output: Path) -> None:
    """Copy the two streams, with the right times, into a Matroska file."""
    times = picture_times(path, source)
    with (
        open_source(path, source.demuxer) as container,
        open_target(output) as target,
    ):
        indexes = [source.video_index] + ([source.audio_index] if source.has_audio else [])
        streams = {
            index: target.add_stream_from_template(container.streams[index]) for index in indexes
        }
        number = -1
        for packet in container.demux(*(container.streams[index] for index in indexes)):
            if packet.stream_index == source.video_index:
                number += 1
                packet.pts = times.get(number)
                packet.dts = packet.dts - _DELAY if packet.dts is not None else None
            if packet.pts is not None and packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
                if number % _REPORT_EVERY == 0:
                    report_frame(number)


def main() -> None:
    av.logging.set_level(None)
    payload = json.loads(sys.argv[1])
    rewrite(Path(payload["path"]), Source.from_json(payload["source"]), Path(payload["output"]))


if __name__ == "__main__":
    main()
