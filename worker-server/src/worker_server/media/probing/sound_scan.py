"""Reads the packets of a sound stream; decodes none."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from worker_server.media.probing.sound_headers import HEAD_BYTES
from worker_server.media.probing.timestamps import contradict_durations


def new_extradata(packet: "av.Packet[Any]") -> bytes:
    """Return the codec's extradata that apply from this packet on; empty where none are new."""
    if not packet.has_sidedata("new_extradata"):
        return b""
    return bytes(packet.get_sidedata("new_extradata"))


@dataclass
class SoundSeen:
    """The facts of one sound stream, by its packets; times in ticks."""

    read_header: Callable[[bytes], tuple[int, ...] | None] | None
    tick_s: Fraction
    max_gap: int
    has_dts: bool
    packets: int = 0
    first: int | None = None
    last: int | None = None
    end: int = 0
    longest: int = 0  # packet
    duration_sum: int = 0
    duration: int = 0  # of the last packet, which may be unknown
    has_durations: bool = True
    header: tuple[int, ...] | None = None
    irregular: str = ""
    lead_s: Fraction = Fraction(0)  # the longest sound past a key frame that is stored before it

    @property
    def end_s(self) -> Fraction:
        return self.end * self.tick_s

    def compare_stamps(self) -> None:
        """Note stamps of AVI, which stores none, that contradict the packets' durations."""
        spanned = (self.last or 0) - (self.first or 0)
        duration_sum = self.duration_sum if self.has_durations else 0
        if contradict_durations(spanned, duration_sum, self.tick_s):
            self.irregular = self.irregular or "the sound's stamps contradict its durations"

    def add(self, packet: "av.Packet[Any]", stamp: int) -> None:
        self.packets += 1
        order = packet.dts if self.has_dts else stamp
        order = stamp if order is None else order
        if self.last is not None and not 0 <= order - self.last <= self.max_gap:
            self.irregular = self.irregular or "the sound's stamps are discontinuous"
        if new_extradata(packet):
            self.irregular = self.irregular or "the sound's format changes"
        self.last = order
        self.has_durations &= self.packets == 1 or self.duration > 0
        self.duration = packet.duration or 0
        self.duration_sum += self.duration
        self.first = stamp if self.first is None else self.first
        end = stamp + (packet.duration or 0)
        self.end, self.longest = max(end, self.end), max(packet.duration or 0, self.longest)
        if self.read_header and packet.size >= HEAD_BYTES:
            header = self.read_header(bytes(memoryview(packet)[:HEAD_BYTES]))
            if header and self.header and header != self.header:
                self.irregular = self.irregular or "the sound's format changes"
            self.header = header or self.header
