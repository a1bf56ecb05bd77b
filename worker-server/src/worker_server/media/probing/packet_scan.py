"""Reads the packets of a source once; decodes no more than one picture."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av import AudioStream, VideoFrame, VideoStream
from av.container import InputContainer

from worker_server.media.errors import SourceError
from worker_server.media.model.containers import packets_of
from worker_server.media.model.source import ProbeLimits
from worker_server.media.probing import av1_headers, vp9_headers
from worker_server.media.probing.h264_fields import FieldPairs, frame_coding
from worker_server.media.probing.hidden_frames import HIDING_CODECS, shows_nothing
from worker_server.media.probing.key_frames import KeyFrames
from worker_server.media.probing.orientation import OrientationCheck
from worker_server.media.probing.random_access import RandomAccess
from worker_server.media.probing.sound_headers import sound_header_reader
from worker_server.media.probing.sound_scan import SoundSeen, new_extradata
from worker_server.media.probing.stream_headers import (
    header_reader,
    headers_of_extradata,
    length_size_of,
)
from worker_server.media.probing.streams import check_size
from worker_server.media.probing.timestamps import STALLED_PACKETS, typical_step

# If no frame was decoded after this many packets, none will be.
_MAX_FRAMES_UNDECODED = 900
_MAX_SHAPES = 64
_HEAD_BYTES = 1 << 17  # a JPEG may have 64 KiB of something else before its size
# Of codecs whose size may change between key frames.
_SIZE_READERS: dict[str, Callable[[memoryview, bytes], list[tuple[int, int]]]] = {
    "vp9": vp9_headers.sizes_between_key_frames,
    "av1": av1_headers.sizes_between_key_frames,
    "libdav1d": av1_headers.sizes_between_key_frames,
}
# These containers store DTS; for others libavformat derives them from the order of PTS.
DEMUXERS_WITH_DTS = {"mov", "mpegts", "mpeg", "flv", "avi", "asf"}
# In these a gap may be a discontinuity of the clock; in others a frame may last for minutes.
_BROADCAST_DEMUXERS = {"mpegts", "mpeg", "ogg"}
_BROADCAST_MAX_GAP_S, _MAX_GAP_S = 10, 600
# By how many seconds PTS may go back from packet to packet where pictures are reordered.
REORDER_TOLERANCE_S = 1
# No camera is faster than this; time stamps that are closer were made up by a muxer.
MIN_STEP_S = Fraction(1, 2000)
# Limits for PTS minus DTS, in seconds and in frame durations; the larger one applies.
_MAX_REORDER_S, MAX_REORDER = 10, 17
_MPEG4_PICTURE = b"\0\0\1\xb6"  # vop_start_code (ISO/IEC 14496-2, 6.2.5)
# In these a damaged packet is a gap in a recording; in others it means a damaged or cut-off file.
LOSSY_DEMUXERS = {"mpegts", "mpeg", "ogg", "asf"}

# In these a recording may end within a packet; `check_complete` finds whether more was declared.
_RECORDED_DEMUXERS = {"mov", "flv", "avi"}


def max_gap_s(demuxer: str) -> int:
    """Return the longest gap between time stamps, in seconds, that is not a discontinuity."""
    return _BROADCAST_MAX_GAP_S if demuxer in _BROADCAST_DEMUXERS else _MAX_GAP_S


def max_reorder(ticks: Sequence[int | None], tick_s: Fraction) -> int:
    """Return the largest PTS minus DTS that is believed, in ticks, for stamps in this order."""
    return max(int(_MAX_REORDER_S / tick_s), MAX_REORDER * typical_step(ticks))


def _link_extradata(packet: "av.Packet[Any]", stream: VideoStream) -> bytes:
    """Return the extradata of a packet of a chained Ogg's later link; empty in the first."""
    is_later = packet.stream is not stream
    return (packet.stream.codec_context.extradata or b"") if is_later else b""


def head_of(packet: "av.Packet[Any]") -> bytes:
    """Return the beginning of a packet, where headers are: a copy of the whole costs too much."""
    return bytes(memoryview(packet)[:_HEAD_BYTES])


def has_several_pictures(packet: "av.Packet[Any]") -> bool:
    """Return whether a packet of MPEG-4 has more than one picture.

    In DivX's and Xvid's packed bitstream a B-frame shares the packet of its reference picture, and
    an empty packet follows: time stamps of packets are then not those of pictures.
    """
    return bytes(packet).count(_MPEG4_PICTURE) > 1


@dataclass
class Scan:
    """The facts of a source, by its packets."""

    demuxer: str
    ticks: "array[int]" = field(default_factory=lambda: array("q"))  # PTS of shown frames
    last_tick: int | None = None
    last_duration: int = 0
    reorder_ticks: int = 0
    max_reorder_ticks: int = 0  # the largest difference of PTS and DTS
    keys: KeyFrames = field(default_factory=KeyFrames)
    end_s: Fraction = Fraction(0)
    frame: VideoFrame | None = None
    undecoded: int = 0
    packets: int = 0
    # Numbers of the packets that show no frame.
    hidden: "array[int]" = field(default_factory=lambda: array("q"))
    sounds: dict[int, SoundSeen] = field(default_factory=dict)
    irregular: str = ""
    # For each new set of headers its first key frame, and the extradata at that point.
    shapes: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    may_be_interlaced: bool = False
    # Width and height in pixels of pictures whose size changes between key frames.
    sizes: set[tuple[int, int]] = field(default_factory=set)
    last_dts: int | None = None

    def add_frame_time(self, tick: int, duration: int) -> None:
        self.ticks.append(tick)
        if self.last_tick is None or tick > self.last_tick:
            self.last_tick, self.last_duration = tick, duration

    def note(self, irregular: str) -> None:
        """Remember the first reason why the source must be normalized."""
        self.irregular = self.irregular or irregular


class PacketScanner:
    """Reads a container to its end; `scan` has what was found."""

    def __init__(
        self,
        container: InputContainer,
        video: VideoStream,
        sounds: "list[AudioStream]",
        demuxer: str,
        limits: ProbeLimits,
    ) -> None:
        self.scan = Scan(demuxer)
        self._container, self._video, self._limits = container, video, limits
        self._max_gap_s = max_gap_s(demuxer)
        for sound in sounds:
            read = sound_header_reader(sound.codec_context.name)
            tick_s = sound.time_base or Fraction(1)
            self.scan.sounds[sound.index] = SoundSeen(
                read, tick_s, int(self._max_gap_s / tick_s), demuxer in DEMUXERS_WITH_DTS
            )
        context = video.codec_context
        self._codec = context.name
        self._random_access = RandomAccess(self._codec, context.extradata or b"")
        self._orientation = OrientationCheck(self._codec, context.extradata or b"")
        self._read_headers = header_reader(self._codec, context.extradata)
        self._extradata = context.extradata or b""
        self._headers = headers_of_extradata(self._codec, self._extradata)
        tick_s = video.time_base or Fraction(1)
        self._max_gap, self._min_step = int(self._max_gap_s / tick_s), int(MIN_STEP_S / tick_s) + 1
        self._video_index = video.index
        self._end_ticks: dict[int, int] = {}  # end of each stream, in its time base
        self._ended: set[int] = set()  # streams whose last packet is truncated: none may follow
        self._fields: FieldPairs | None = None
        self._stalled = 0  # consecutive packets with about the same DTS
        self._expect_fields(self._headers)

    def run(self) -> Scan:
        """Go through all packets, and decode until there is one frame."""
        self._video.codec_context.thread_count = 1
        for packet in packets_of(self._container):
            if packet.size:
                self._scan_packet(packet)
        if self.scan.frame is None:
            self.scan.frame = next(iter(self._video.decode(None)), None)
        self._compare_stamps()
        streams = self._container.streams
        ends_s = [end * (streams[index].time_base or 0) for index, end in self._end_ticks.items()]
        ends_s += [sound.end_s for sound in self.scan.sounds.values()]
        self.scan.end_s = Fraction(max(ends_s, default=Fraction(0)))
        return self.scan

    def _compare_stamps(self) -> None:
        scan, tick_s = self.scan, self._video.time_base or Fraction(1)
        for sound in scan.sounds.values() if scan.demuxer == "avi" else ():
            sound.compare_stamps()
        # Sorting the stamps to find a frame's duration takes long, and few files need it.
        is_far = scan.max_reorder_ticks > int(_MAX_REORDER_S / tick_s)
        if is_far and scan.max_reorder_ticks > max_reorder(sorted(scan.ticks), tick_s):
            scan.note("a picture's stamps contradict each other")

    def _scan_packet(self, packet: "av.Packet[Any]") -> None:
        pts, index = packet.pts, packet.stream_index
        # AVI stores no PTS; among those that libavformat guesses, some repeat and some are missing.
        stamp = packet.dts if pts is None or self.scan.demuxer == "avi" else pts
        if stamp is None:
            if index == self._video_index:
                self.scan.packets += 1
                self.scan.note("a picture has no stamp")
                if self._shows_nothing(packet):  # as broadcasters send second fields
                    self.scan.hidden.append(self.scan.packets - 1)
                if self.scan.frame is None:
                    self._decode(packet)
            return
        if index == self._video_index:
            self._check(packet)
            self._record_end(packet, index, stamp)
            self._take_picture(packet, stamp)
        elif sound := self.scan.sounds.get(index):
            self._check(packet)
            sound.add(packet, stamp)
        else:
            self._record_end(packet, index, stamp)

    def _record_end(self, packet: "av.Packet[Any]", index: int, stamp: int) -> None:
        self._end_ticks[index] = max(self._end_ticks.get(index, 0), stamp + (packet.duration or 0))

    def _check(self, packet: "av.Packet[Any]") -> None:
        if packet.has_sidedata("encryption_info"):
            raise SourceError("source_protected", "The video is encrypted.")
        is_damage = packet.is_corrupt and self.scan.demuxer not in LOSSY_DEMUXERS
        may_end = self.scan.demuxer in _RECORDED_DEMUXERS
        if packet.stream_index in self._ended or (is_damage and not may_end):
            raise SourceError("source_damaged", "The video is cut off or damaged.")
        if is_damage:
            self._ended.add(packet.stream_index)
        if packet.is_corrupt:
            self.scan.note("packets were lost")

    def _take_picture(self, packet: "av.Packet[Any]", tick: int) -> None:
        scan = self.scan
        scan.packets += 1
        self._check_order(packet)
        if not scan.irregular:
            scan.note(self._random_access.fault(packet))
        self._check_description(packet)
        self._check_shape(packet)
        self._check_orientation(packet)
        if packet.has_sidedata("palette"):  # demuxers give it once: not again after seeking
            scan.note("the palette is stored beside the pictures")
        if self._shows_nothing(packet):
            scan.hidden.append(scan.packets - 1)
        else:
            reorder = 0 if packet.dts is None else tick - packet.dts
            scan.max_reorder_ticks = max(scan.max_reorder_ticks, abs(reorder))
            scan.reorder_ticks = max(scan.reorder_ticks, reorder)
            if packet.is_keyframe:
                scan.keys.add(tick, reorder)
                self._measure_lead(tick * packet.time_base)
            if packet.is_discard:
                scan.hidden.append(scan.packets - 1)
            else:
                scan.add_frame_time(tick, packet.duration or 0)
        if len(scan.ticks) > self._limits.max_frames:
            raise SourceError(
                "source_limits", f"The video has more than {self._limits.max_frames} frames."
            )
        if scan.frame is None:
            self._decode(packet)

    def _shows_nothing(self, packet: "av.Packet[Any]") -> bool:
        """Return whether it is a second field, or a frame that others refer to alone."""
        if self._fields:
            return self._fields.is_second(head_of(packet))
        return self._codec in HIDING_CODECS and shows_nothing(self._codec, memoryview(packet))

    def _measure_lead(self, key_s: Fraction) -> None:
        for sound in self.scan.sounds.values():
            sound.lead_s = max(sound.lead_s, sound.end_s - key_s)

    def _check_order(self, packet: "av.Packet[Any]") -> None:
        scan = self.scan
        if packet.dts is None:
            return  # libavformat derives a missing DTS, but not for the first packets
        if scan.last_dts is not None:
            ahead = packet.dts - scan.last_dts
            self._stalled = self._stalled + 1 if ahead < self._min_step else 0
            if self._stalled >= STALLED_PACKETS:
                scan.note("the picture's time stamps do not advance")
            if not -self._may_go_back(packet) <= ahead <= self._max_gap:
                scan.note("the picture's stamps are discontinuous")
        scan.last_dts = packet.dts

    def _may_go_back(self, packet: "av.Packet[Any]") -> int:
        """Return by how many ticks DTS may go back.

        They may where libavformat derives DTS, and frames last a second or more: it finds out too
        late that the pictures are reordered.
        """
        is_slow = (packet.duration or 0) * packet.time_base >= REORDER_TOLERANCE_S
        is_made_up = self.scan.demuxer not in DEMUXERS_WITH_DTS
        return MAX_REORDER * (packet.duration or 0) if is_slow and is_made_up else 0

    def _check_shape(self, packet: "av.Packet[Any]") -> None:
        """Record a key frame whose headers differ from the last ones, and packed B-frames."""
        if self._codec == "mpeg4" and has_several_pictures(packet):
            self.scan.note("a packet has several pictures")
        if self._read_headers is None:
            return
        if not packet.is_keyframe:
            if self._codec in _SIZE_READERS:
                self._check_size(memoryview(packet))
            return
        headers = self._read_headers(head_of(packet))
        if not headers or headers == self._headers:
            return
        if self._headers:
            self._add_shape(headers, packet)
        self._headers = headers
        self._expect_fields(headers)

    def _check_size(self, packet: memoryview) -> None:
        """Note frames whose size is not that of the key frame, as only VP9 and AV1 have them."""
        sizes = _SIZE_READERS[self._codec](packet, self._headers)
        if sizes:
            self.scan.note("the picture's size changes")
        if len(self.scan.sizes) < _MAX_SHAPES:
            self.scan.sizes.update(sizes)

    def _check_description(self, packet: "av.Packet[Any]") -> None:
        """Record a packet with new extradata: a second `avc1` entry, or a later link of Ogg."""
        extradata = new_extradata(packet) or _link_extradata(packet, self._video)
        if not extradata or extradata == self._extradata:
            return
        self.scan.note("the picture's description changes")
        self._extradata = extradata
        self._read_headers = header_reader(self._codec, extradata)
        self._headers = headers_of_extradata(self._codec, extradata)
        self._add_shape(self._headers or extradata, packet)
        self._expect_fields(self._headers)

    def _check_orientation(self, packet: "av.Packet[Any]") -> None:
        if fault := self._orientation.fault(packet):
            self.scan.note(fault)
            self._add_shape(repr(self._orientation.last).encode(), packet)

    def _add_shape(self, headers: bytes, packet: "av.Packet[Any]") -> None:
        if len(self.scan.shapes) < _MAX_SHAPES:
            self.scan.shapes.setdefault(headers, (bytes(packet), self._extradata))

    def _expect_fields(self, headers: bytes) -> None:
        if self._codec == "mpeg2video" and len(headers) > 5:
            self.scan.may_be_interlaced |= not headers[5] & 8  # progressive_sequence
        if self._codec == "vc1" and len(headers) > 3:
            self.scan.may_be_interlaced |= bool(headers[3] & 0x40)  # INTERLACE
        if self._codec == "h264" and (coding := frame_coding(headers)):
            self._fields = None
            if not coding.frames_only:
                self.scan.may_be_interlaced = True
                self._fields = FieldPairs(coding, length_size_of("h264", self._extradata))

    def _decode(self, packet: "av.Packet[Any]") -> None:
        scan = self.scan
        try:
            scan.frame = next(iter(self._video.decode(packet)), None)
        except av.error.InvalidDataError:
            scan.frame = None  # the stream may start inside a GOP
        scan.undecoded += 1
        if scan.frame is None and scan.undecoded > _MAX_FRAMES_UNDECODED:
            raise SourceError("source_damaged", "The video cannot be decoded.")
        if scan.frame:
            check_size(scan.frame.width, scan.frame.height, self._limits)
