"""Decodes the sound of a source while it is normalized: one track, or left and right as two."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
from av import AudioFrame, AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from worker_server.media.model.source import Source
from worker_server.media.probing.intermediate import add_sound
from worker_server.media.probing.normalize_sound import (
    PairedTracks,
    SoundFile,
    SoundWriter,
    packet_tag,
)
from worker_server.media.probing.sound_layouts import right_of
from worker_server.media.probing.timelines import correct_times


@dataclass
class _Track:
    """One track, and what to add to the stamps of its packets, as in CorrectedTimes."""

    writer: SoundWriter
    shifts: list[int | None]
    number: int  # 1 for the right one of two
    packets: int = 0
    stream: Stream | None = None  # each link of a chained Ogg has its own

    def decode(self, packet: "av.Packet[Any]", tracks: int) -> None:
        """Decode the packet, and write its samples; of this many tracks it is one."""
        if packet.stream is not self.stream:
            self.writer.resynchronize()
            self.stream = packet.stream
        if packet.size:
            # Two tracks must not use the same tags; see `packet_tag`.
            packet.opaque = packet_tag(self.packets * tracks + self.number)
            self.packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            return  # the writer fills the gap with silence
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self.writer.add(frame, self.shifts)


class SoundTracks:
    """The tracks that are heard, written as one stream of stereo."""

    def __init__(
        self,
        source: Source,
        shifts: list[int | None],
        container: InputContainer,
        target: OutputContainer,
        path: Path,
    ) -> None:
        self._file = SoundFile(target, add_sound(target))
        self._paired: PairedTracks | None = None
        left = next(each for each in container.streams.audio if each.index == source.audio_index)
        is_mono = source.audio_channels == 1
        right = right_of(left, container.streams.audio) if is_mono else None
        tracks = [(left, shifts)]
        if right and (right_shifts := _shifts_of(right, source, path)):
            tracks.append((right, right_shifts))
            self._paired = PairedTracks(self._file.write)
        self._tracks: dict[int, _Track] = {}
        for number, (sound, own) in enumerate(tracks):
            write = partial(self._paired.write, number) if self._paired else self._file.write
            writer = SoundWriter(source, write, sound.codec_context)
            # Tags of packets count those of all tracks; see `_Track.decode`.
            by_tag = [shift for shift in own for _ in tracks]
            self._tracks[sound.index] = _Track(writer, by_tag, number)

    @property
    def indexes(self) -> tuple[int, ...]:
        """The indexes of the tracks in the container."""
        return tuple(self._tracks)

    def decode(self, packet: "av.Packet[Any]") -> None:
        """Decode a packet of one of the tracks; an empty one ends it."""
        self._tracks[packet.stream.index].decode(packet, len(self._tracks))

    def close(self) -> None:
        """Write what is left, and finish the stream."""
        for track in self._tracks.values():
            track.writer.close()
        if self._paired:
            self._paired.flush()
        self._file.close()


def _shifts_of(sound: AudioStream, source: Source, path: Path) -> list[int | None]:
    """Return what to add to the stamps of a second track; empty where it has no packets."""
    demuxer, video_index = source.demuxer, source.video_index
    return correct_times(path, demuxer, video_index, sound.index, frozenset()).sound
