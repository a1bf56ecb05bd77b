"""Decodes a source once, and writes it as a plain one. Run by `prepare.prepare`.

The result has one picture size, a constant frame rate, no B-frames, sound in 48 kHz stereo, and
begins with the first frame that can be decoded. Picture and sound are timed separately, so that an
error in one cannot shift the other.
"""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
from av import VideoFrame, VideoStream
from av.container import InputContainer, OutputContainer
from av.frame import Frame
from av.video.codeccontext import VideoCodecContext

from worker_server.media.model.containers import open_source, packets_of
from worker_server.media.model.geometry import Box
from worker_server.media.model.source import Source
from worker_server.media.probing.colour_tags import ColourTags
from worker_server.media.probing.cropping import shown_box
from worker_server.media.probing.display_order import lacks_display_times
from worker_server.media.probing.intermediate import add_video, open_target
from worker_server.media.probing.normalize_tracks import SoundTracks
from worker_server.media.probing.normalize_video import VideoWriter
from worker_server.media.probing.orientation import OrientationInForce
from worker_server.media.probing.packet_scan import head_of
from worker_server.media.probing.sound_scan import new_extradata
from worker_server.media.probing.stream_headers import header_reader, headers_of_extradata
from worker_server.media.probing.timelines import CorrectedTimes, correct_times
from worker_server.media.process.frame_progress import report_frame

# At most this share of a source's video packets may fail to decode; in players less than that is a
# short disturbance.
MAX_BAD_SHARE = Fraction(1, 5)
_MAX_THREADS = 4
_REPORT_EVERY = 25


class Normalizer:
    """Decodes a source once, and feeds the writers of picture and sound."""

    def __init__(
        self,
        source: Source,
        times: CorrectedTimes,
        container: InputContainer,
        target: OutputContainer,
        shown: Box | None,
        tags: ColourTags,
        *,
        by_order: bool,
    ) -> None:
        self._source, self._times, self._container, self._target = source, times, container, target
        self._video_packets = 0
        self._bad = 0
        self._video = container.streams[source.video_index]
        video = self._video.codec_context
        self._pictures = VideoWriter(
            source,
            target,
            add_video(target, source),
            shown,
            picture_count=times.picture_count,
            by_order=by_order,
            orientation=OrientationInForce(source.video_codec, video.extradata or b""),
        )
        self._tags = tags
        self._first_aspect = _aspect_of(video)
        self._read_headers = header_reader(source.video_codec, video.extradata)
        self._headers = headers_of_extradata(source.video_codec, video.extradata)

    def run(self, sounds: SoundTracks | None) -> None:
        """Write everything; without sound where `sounds` is None.

        Raise InvalidDataError where too little of the picture can be decoded.
        """
        video = self._container.streams[self._source.video_index]
        indexes = sounds.indexes if sounds else ()
        wanted = [video, *(self._container.streams[index] for index in indexes)]
        for stream in wanted:
            stream.codec_context.copy_opaque = True
        if isinstance(video, VideoStream):
            video.codec_context.thread_count = _MAX_THREADS
            # libavcodec's frame threads do not pass on new quantization matrices of MPEG-4.
            is_mpeg4 = self._source.video_codec == "mpeg4"
            video.codec_context.thread_type = "SLICE" if is_mpeg4 else "AUTO"
        for packet in packets_of(self._container, *wanted):
            # The flush packet at a stream's end has no `stream_index`, only a `stream`.
            if packet.stream.index == video.index:
                self._take_picture(packet)
            elif sounds:
                sounds.decode(packet)
        self._pictures.close()
        if sounds:
            sounds.close()
        if self._bad > self._video_packets * MAX_BAD_SHARE:
            raise av.error.InvalidDataError(0, f"{self._bad} of {self._video_packets} packets")

    def _take_picture(self, packet: "av.Packet[Any]") -> None:
        self._video = packet.stream  # each link of a chained Ogg has its own
        if packet.size:
            if self._headers_change(packet):
                self._drain(packet.stream.codec_context)
            packet.opaque = self._video_packets
            self._pictures.expect(self._video_packets, packet, self._times.video)
            self._video_packets += 1
        try:
            frames = self._with_headers(packet).decode()
        except av.error.FFmpegError:
            self._bad += 1
            return
        self._add_pictures(frames)
        if self._video_packets % _REPORT_EVERY == 0:
            report_frame(self._video_packets)

    def _add_pictures(self, frames: "Iterable[Frame]") -> None:
        for frame in frames:
            if isinstance(frame, VideoFrame):
                self._bad += bool(frame.is_corrupt)
                self._tags.complete(frame)
                self._pictures.add(frame, self._times.video, self._sample_aspect())

    def _sample_aspect(self) -> Fraction | None:
        """Return the sample aspect ratio of the last frame.

        The container's applies until the coded pictures change theirs.
        """
        own = _aspect_of(self._video.codec_context)
        if own and own != self._first_aspect:
            return own
        return self._video.sample_aspect_ratio if isinstance(self._video, VideoStream) else own

    def _headers_change(self, packet: "av.Packet[Any]") -> bool:
        """Return whether the packet begins a sequence with other headers, and remember them."""
        if extradata := new_extradata(packet):
            self._read_headers = header_reader(self._source.video_codec, extradata)
            self._headers = headers_of_extradata(self._source.video_codec, extradata)
            return True
        if self._read_headers is None or not packet.is_keyframe:
            return False
        before, headers = self._headers, self._read_headers(head_of(packet))
        self._headers = headers or before
        return bool(before and headers and headers != before)

    def _with_headers(self, packet: "av.Packet[Any]") -> "av.Packet[Any]":
        """Return the packet with any new MPEG-4 headers before it: the decoder needs them there."""
        extradata = new_extradata(packet) if self._source.video_codec == "mpeg4" else b""
        if not extradata:
            return packet
        whole = av.Packet(extradata + bytes(packet))
        whole.stream, whole.time_base = packet.stream, packet.time_base
        whole.pts, whole.dts, whole.opaque = packet.pts, packet.dts, packet.opaque
        whole.is_keyframe = packet.is_keyframe
        return whole

    def _drain(self, context: "VideoCodecContext") -> None:
        """Flush the decoder before another sequence.

        Some decoders drop the pictures that they still hold when the size changes.
        """
        with suppress(av.error.FFmpegError):
            self._add_pictures(context.decode(None))
        context.flush_buffers()


def _aspect_of(context: object) -> Fraction | None:
    return context.sample_aspect_ratio if isinstance(context, VideoCodecContext) else None


def normalize(path: Path, source: Source, output: Path) -> None:
    """Write the plain form of a source into a Matroska file."""
    sound_index = source.audio_index if source.has_audio else -1
    times = correct_times(path, source.demuxer, source.video_index, sound_index, frozenset())
    by_order = lacks_display_times(path, source.demuxer, source.video_index)
    with (
        open_source(path, source.demuxer) as container,
        open_target(output) as target,
    ):
        video = next(each for each in container.streams.video if each.index == source.video_index)
        shown = shown_box(container, path, source.demuxer, video)
        tags = ColourTags.of(video)
        normalizer = Normalizer(source, times, container, target, shown, tags, by_order=by_order)
        has_sound = source.has_audio
        sounds = SoundTracks(source, times.sound, container, target, path) if has_sound else None
        normalizer.run(sounds)


def main() -> None:
    av.logging.set_level(None)
    payload = json.loads(sys.argv[1])
    try:
        normalize(
            Path(payload["path"]), Source.from_json(payload["source"]), Path(payload["output"])
        )
    except av.error.InvalidDataError as error:
        sys.exit(f"Invalid data found: {error}")


if __name__ == "__main__":
    main()
