"""Puts decoded frames on a constant grid, all in one size, and encodes them."""

import heapq
import math
from dataclasses import replace
from fractions import Fraction

import av
import av.filter
from av import VideoFrame, VideoStream
from av.container import OutputContainer
from av.video.frame import PictureType

from worker_server.media.model import colour, deinterlacing, sdr_to_hdr
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.geometry import Box, crop_box
from worker_server.media.model.matrices import Matrix, rotation_by
from worker_server.media.model.source import Source
from worker_server.media.probing.hidden_frames import shows_nothing
from worker_server.media.probing.intermediate import picture_size, pixel_format
from worker_server.media.probing.orientation import OrientationInForce
from worker_server.media.probing.packet_scan import has_several_pictures
from worker_server.media.probing.pictures import PictureShape, shape_by

# A frame whose place is taken gets the next one, so that none is lost, up to this many places late.
_MAX_LATE = Fraction(7, 2)
# Gaps of less than a frame between joined pieces are ignored until they add up to about a frame.
_MAX_EARLY = Fraction(9, 10)
# With more packets per place than this, the grid has no place for each frame. Field-coded pictures
# have two packets each and do not count.
_MIN_DECIMATION = Fraction(3, 2)
_SDR_TRANSFER = 1  # of BT.709
_ROUNDING = Fraction(1, 8)  # of a frame's duration


class Places:
    """Gives each frame its place on the grid, every place once and in order."""

    def __init__(self, rate: Fraction, origin_s: Fraction, *, is_decimated: bool = False) -> None:
        self._rate, self._origin_s, self._is_decimated = rate, origin_s, is_decimated
        self._last = -1

    def assign(self, time_s: Fraction | None) -> int | None:
        """Return the next frame's place; None before place 0, or without a free place near.

        A frame without a time gets the place after the last.
        """
        following = self._last + 1
        if time_s is None:
            self._last = following
            return following
        position = (time_s - self._origin_s) * self._rate
        if self._is_decimated:
            return self._take_first(math.floor(position + _ROUNDING))
        place = frame_index(time_s - self._origin_s, self._rate)
        if place < 0 or following - position > _MAX_LATE:
            return None
        self._last = place if position - following > _MAX_EARLY else following
        return self._last

    def _take_first(self, place: int) -> int | None:
        """Return this place, or None if it or a later one is taken."""
        if place <= self._last:
            return None
        self._last = place
        return place


class VideoWriter:
    """Takes frames as they are decoded, and writes one for each place of the grid."""

    def __init__(
        self,
        source: Source,
        target: OutputContainer,
        stream: VideoStream,
        shown: Box | None,
        *,
        picture_count: int,
        by_order: bool,
        orientation: OrientationInForce,
    ) -> None:
        self._source, self._target, self._stream, self._shown = source, target, stream, shown
        self._orientation = orientation
        is_decimated = picture_count > _MIN_DECIMATION * source.frame_count
        is_decimated = is_decimated and not source.interlaced
        self._places = Places(source.frame_rate, source.origin_s, is_decimated=is_decimated)
        self._tick_s = 1 / source.frame_rate
        self._graph: av.filter.Graph | None = None
        self._shape: PictureShape | None = None
        self._last: VideoFrame | None = None
        self._written = 0
        # A heap of the times of packets whose pictures are still to come. The n-th picture has the
        # n-th time in AVI, which stores no PTS, and where packets have several pictures.
        self._expected: list[Fraction] = []
        self._by_order = by_order or source.demuxer == "avi"

    def expect(
        self, number: int, packet: "av.Packet[VideoStream]", shifts: list[int | None]
    ) -> None:
        """Record the time of a packet that is about to be decoded."""
        self._orientation.expect(number, packet)
        if self._source.video_codec == "mpeg4" and has_several_pictures(packet):
            self._by_order = True
        stamp = packet.dts if self._source.demuxer == "avi" else packet.pts
        shift = shifts[number] if number < len(shifts) else None
        if packet.is_discard or shows_nothing(self._source.video_codec, memoryview(packet)):
            return  # the decoder outputs no frame for it
        if stamp is not None and (shift is not None or self._source.demuxer == "avi"):
            heapq.heappush(self._expected, (stamp + (shift or 0)) * packet.time_base)

    def add(
        self, frame: VideoFrame, shifts: list[int | None], sample_aspect: Fraction | None
    ) -> None:
        """Give a decoded frame its place, and write what is ready."""
        matrix = self._orientation.matrix_of(frame)
        place = self._places.assign(self._time_s(frame, shifts))
        if place is None:
            return
        if not self._source.varies:
            sample_aspect = self._source.sample_aspect
        shape = shape_by(matrix, frame, sample_aspect).cropped(self._shown)
        if self._graph is None or shape != self._shape:
            self._flush()
            self._graph, self._shape = self._filters(frame, shape, matrix), shape
        frame.pts, frame.time_base = place, self._tick_s
        self._graph.push(frame)
        self._pull()

    def close(self) -> None:
        """Hold the last picture to the end, and finish the stream."""
        self._flush()
        if self._last and self._source.frame_count > self._written + 1:
            self._repeat(self._source.frame_count)
        self._target.mux(self._stream.encode(None))

    def _time_s(self, frame: VideoFrame, shifts: list[int | None]) -> Fraction | None:
        expected_s = heapq.heappop(self._expected) if self._expected else None
        if self._by_order:
            return expected_s
        number = frame.opaque
        shift = shifts[number] if isinstance(number, int) and number < len(shifts) else 0
        if frame.pts is None or shift is None or frame.time_base is None:
            return None
        return (frame.pts + shift) * frame.time_base

    def _filters(
        self, frame: VideoFrame, shape: PictureShape, matrix: Matrix | None
    ) -> av.filter.Graph:
        """Return the filters from a frame of this shape to the normalized one."""
        graph = av.filter.Graph()
        chain = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=self._tick_s,
            )
        ]
        for name, arguments in (
            *_plain_tags(_as_shaped(self._source, shape)),
            *_deinterlacing(self._source),
            *_cropping(frame, shape, self._shown),
            *_turns(matrix),
            *_crop_and_scale(self._source, shape),
        ):
            chain.append(graph.add(name, arguments))
        chain.append(graph.add("buffersink"))
        graph.link_nodes(*chain).configure()
        return graph

    def _flush(self) -> None:
        if self._graph:
            self._graph.push(None)
            self._pull()
            self._graph = None

    def _pull(self) -> None:
        while self._graph:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if isinstance(frame, VideoFrame) and frame.pts is not None and frame.time_base:
                self._write(frame, round(frame.pts * frame.time_base / self._tick_s))

    def _write(self, frame: VideoFrame, place: int) -> None:
        self._last = self._last or frame
        self._repeat(place)
        self._last = frame
        self._repeat(place + 1)

    def _repeat(self, end: int) -> None:
        """Show the last picture up to, not including, the place `end`."""
        for place in range(self._written, end):
            if self._last:
                self._last.pts, self._last.time_base = place, self._tick_s
                self._last.pict_type = PictureType.NONE
                self._target.mux(self._stream.encode(self._last))
        self._written = max(self._written, end)


def _plain_tags(own: Source) -> list[tuple[str, str]]:
    """Return the filter that removes colour tags which most filters reject, if any."""
    if colour.needs_zimg(own):
        return []
    return [("setparams", tags.removeprefix("setparams=")) for tags in colour.plain_tags(own)]


def _as_shaped(source: Source, shape: PictureShape) -> Source:
    """Return the source as if all of its pictures were of this shape."""
    return replace(
        source,
        width=shape.width,
        height=shape.height,
        pix_fmt=shape.pix_fmt,
        sample_aspect=shape.sample_aspect,
        rotation=shape.rotation,
        colour_matrix=shape.matrix,
        full_range=shape.full_range,
        colour_transfer=shape.hdr_transfer or _sdr_transfer(source),
    )


def _sdr_transfer(source: Source) -> int:
    return _SDR_TRANSFER if colour.is_hdr(source) else source.colour_transfer


def _deinterlacing(source: Source) -> list[tuple[str, str]]:
    return [(deinterlacing.FILTER, deinterlacing.OPTIONS)] if source.interlaced else []


def _cropping(frame: VideoFrame, shape: PictureShape, shown: Box | None) -> list[tuple[str, str]]:
    """Return the filter to what the container shows of a frame."""
    if shown is None or (frame.width, frame.height) == (shape.width, shape.height):
        return []
    width, height, left, top = shown
    return [("crop", f"{width}:{height}:{left}:{top}:exact=1")]


def _turns(matrix: Matrix | None) -> list[tuple[str, str | None]]:
    """Return the filters that apply a display matrix, as ffmpeg's autorotate does."""
    if matrix is None:
        return []
    turned = -rotation_by(matrix) % 360
    if turned == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if turned == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    flips: list[tuple[str, str | None]] = [("hflip", None)] if matrix[0] < 0 else []
    return flips + ([("vflip", None)] if matrix[4] < 0 else [])


def _crop_and_scale(source: Source, shape: PictureShape) -> list[tuple[str, str]]:
    """Return the filters to the normalized size and colours; none where the frame has them."""
    own = _as_shaped(source, shape)
    filters: list[tuple[str, str]] = []
    width, height = own.upright_size
    if source.varies:
        kept_w, kept_h, left, top = crop_box(own)
        filters.append(("crop", f"{kept_w}:{kept_h}:{left}:{top}:exact=1"))
        width, height = kept_w, kept_h
    target = picture_size(source)
    if sdr_to_hdr.needs_hdr(own, source):
        return [*filters, *sdr_to_hdr.to_hdr(own, source, target)]
    plain = (width, height) == target and shape.pix_fmt == pixel_format(source)
    if plain and (colour.needs_zimg(source) or not colour.needs_conversion(own)):
        return filters
    if colour.has_alpha(source):
        return [*filters, *_in_rgb(own, (width, height), target)]
    # Without room for alpha transparent parts become black.
    filters += _premultiplied(own) if colour.has_alpha(own) else []
    scale = f"{target[0]}:{target[1]}:flags=bicubic"
    if colour.needs_zimg(source):
        scale += f":in_range={colour.colour_range(own)}:out_range=limited"
    else:
        scale += f":{colour.scale_input(own)}:{colour.scale_output(own)}"
    return [*filters, ("scale", scale), ("format", pixel_format(source))]


def _in_rgb(own: Source, size: tuple[int, int], target: tuple[int, int]) -> list[tuple[str, str]]:
    """Return the filters to RGB with alpha; what is hidden under clear parts does not bleed."""
    read = ("scale", colour.scale_input(own))
    if size == target:
        return [read, ("format", "bgra")]
    scale = ("scale", f"{target[0]}:{target[1]}:flags=bicubic")
    if not colour.has_alpha(own):
        return [read, ("format", "gbrp"), scale, ("format", "bgra")]
    unpremultiply = [("format", "gbrap"), ("unpremultiply", "inplace=1"), ("format", "bgra")]
    return [*_premultiplied(own), scale, *unpremultiply]


def _premultiplied(own: Source) -> list[tuple[str, str]]:
    read = ("scale", colour.scale_input(own))
    return [read, ("format", "gbrap"), ("premultiply", "inplace=1")]
