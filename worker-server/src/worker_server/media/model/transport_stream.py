"""MPEG transport streams (ISO/IEC 13818-1): their packets, and joined ones read as one.

Where recordings were joined, the same stream continues under another packet id (PID). libavformat
takes that for a stream of its own, which begins when the first one ends.
"""

import io
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

TS_PACKET_BYTES = 188
# Packet lengths: plain; after four bytes of time stamp (M2TS); before 16 bytes of error correction
# (DVB).
_TS_STEPS = (TS_PACKET_BYTES, 192, 204)
TS_SYNC, _TS_PACKETS = 0x47, 20
_WINDOW_BYTES = 25 * 153_408  # a multiple of 188, 192 and 204, the three packet lengths
_STARTS = 0x40  # payload_unit_start_indicator, in the second byte
_STARTING = bytes(byte & _STARTS for byte in range(256))
_PAT_PID, _NULL_PID = 0, 0x1FFF
# PATs come ten times a second; a recording of one program may list others and lack their maps.
_MAX_PATS = 50
_PAT_TABLE, _PMT_TABLE = 0, 2
# Stream type of private data, and descriptors that say what it is: of DVB (ETSI EN 300 468, 6.1)
# teletext, VBI, subtitles, AC-3, E-AC-3, DTS, AAC; and the format that is registered.
_PRIVATE_DATA, _REGISTRATION = 6, 5
_DVB_TAGS = frozenset({0x45, 0x46, 0x56, 0x59, 0x6A, 0x7A, 0x7B, 0x7C})
_TAGS_OF_FORMATS = {b"AC-3": b"\x6a", b"EAC3": b"\x7a", b"DTS1": b"\x7b", b"DTS2": b"\x7b"}
# How many packets of other streams may be between those of one section: they are sent together.
_SECTION_REACH = 500


class Entry(NamedTuple):
    """An elementary stream that a program map announces; `carried` is known of private data."""

    stream_type: int
    pid: int
    carried: bytes = b""

    def may_continue(self, before: "Entry") -> bool:
        """Return whether both may be one stream under two PIDs."""
        is_other = self.carried != before.carried and self.carried and before.carried
        return self.stream_type == before.stream_type and not is_other


class ProgramRange(NamedTuple):
    """A range of the file with one program map: its first byte, and new PIDs by those it has."""

    start: int
    pids: Mapping[int, int]


def packet_grid(data: bytes) -> tuple[int, int] | None:
    """Return where a transport stream's packets begin, and their length; None without any.

    A recording may begin in the middle of a packet, or with a few bytes of something else.
    """
    at = data.find(TS_SYNC)
    while at >= 0:
        for step in _TS_STEPS:
            sync_bytes = data[at : at + _TS_PACKETS * step : step]
            if len(sync_bytes) >= min(_TS_PACKETS, 3 + at) and set(sync_bytes) == {TS_SYNC}:
                return at, step
        at = data.find(TS_SYNC, at + 1)
    return None


def find_program_ranges(path: Path) -> list[ProgramRange]:
    """Return a stream's program ranges, each with a map of its PIDs to the first range's.

    A stream of the first range that a later range lacks is continued by the later one's first new
    stream of the same type. Of several programs the first is used.
    """
    program_ranges: list[ProgramRange] = []
    base: Sequence[Entry] = ()
    for start, map_pid, streams in _program_maps(path):
        base = base or streams
        pids = _continuing_pids(base, streams)
        if pids:
            pids |= {_PAT_PID: _NULL_PID, map_pid: _NULL_PID}
        program_ranges.append(ProgramRange(start, pids))
    return program_ranges


def pids_of_other_programs(path: Path, pid: int) -> Set[int]:
    """Return the PIDs that only programs without `pid` announce; empty where there is one program.

    Programs are those of the first PAT.
    """
    programs = _first_programs(path)
    own = {each for pids in programs if pid in pids for each in pids}
    return {each for pids in programs if pid not in pids for each in pids - own}


def _first_programs(path: Path) -> Collection[Set[int]]:
    """Return the PIDs of each program that the first PAT lists, where its map is found."""
    pids_of: dict[bytes, Set[int]] = {}
    wanted, listed, pats = {_PAT_PID}, 0, 0
    for _, pid, packet in _section_starts(path, wanted):
        if pid == _PAT_PID:
            maps = list(_programs(packet))
            listed, pats = listed or len(maps), pats + 1
            wanted.update(maps)
        elif section := _section(packet, _PMT_TABLE):
            pids_of.setdefault(section[3:5], {entry.pid for entry in _entries(section)})
        if listed == 1 or len(pids_of) == listed > 0 or pats > _MAX_PATS:
            break
    return pids_of.values()


class JoinedStream(io.RawIOBase):
    """A transport stream as a file in which its program ranges have the same PIDs."""

    def __init__(self, path: Path, program_ranges: Sequence[ProgramRange]) -> None:
        self._file = path.open("rb")
        self._program_ranges = program_ranges
        self._starts = [program_range.start for program_range in program_ranges]
        self._at = 0
        self._window = (0, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size()}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override] # narrower
        """Read into the buffer, up to the end of a window; return the count, 0 at the end."""
        start = self._at - self._at % _WINDOW_BYTES
        if self._window[0] != start or not self._window[1]:
            self._file.seek(start)
            self._window = start, self._with_first_pids(start, self._file.read(_WINDOW_BYTES))
        data = self._window[1][self._at - start :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _size(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def _with_first_pids(self, start: int, window: bytes) -> bytes:
        """Return the window, which is at `start` of the file, with the first range's PIDs."""
        first = max(0, bisect_right(self._starts, start) - 1)
        last = bisect_right(self._starts, start + len(window))
        if not any(program_range.pids for program_range in self._program_ranges[first:last]):
            return window
        changed = bytearray(window)
        for number in range(first, last):
            begin = max(self._starts[number] - start, 0)
            end = self._starts[number + 1] - start if number + 1 < last else len(window)
            _renumber(changed, begin, end, self._program_ranges[number].pids)
        return bytes(changed)


def _renumber(data: bytearray, begin: int, end: int, pids: Mapping[int, int]) -> None:
    """Give the packets between two offsets their new PIDs."""
    at, step = packet_grid(bytes(data[begin:end])) or (end - begin, TS_PACKET_BYTES)
    for packet in range(begin + at, end - 2, step) if pids else ():
        pid = (data[packet + 1] & 0x1F) << 8 | data[packet + 2]
        if (new := pids.get(pid)) is not None:
            data[packet + 1] = data[packet + 1] & 0xE0 | new >> 8
            data[packet + 2] = new & 0xFF


def _continuing_pids(base: Sequence[Entry], streams: Sequence[Entry]) -> dict[int, int]:
    """Return new PIDs by old: the base's for a stream that continues one of the base's streams.

    Another stream under a PID of the base gets the null PID, which drops it.
    """
    ended = [entry for entry in base if entry not in streams]
    used = {entry.pid for entry in base}
    pids: dict[int, int] = {}
    for entry in streams:
        if entry in base:
            continue
        candidates = (each for each in ended if entry.may_continue(each))
        before = min(candidates, key=lambda each: each.carried != entry.carried, default=None)
        if before is not None:
            ended.remove(before)
            pids[entry.pid] = before.pid
        elif entry.pid in used:
            pids[entry.pid] = _NULL_PID  # drop the PID: it now carries another kind of stream
    return pids


def _program_maps(path: Path) -> Iterator[tuple[int, int, Sequence[Entry]]]:
    """Yield each new map of the first program: where it begins to apply, its PID, its streams."""
    last_pat, map_pid, current = 0, _NULL_PID, b""
    wanted = {_PAT_PID}
    for start, pid, packet in _section_starts(path, wanted):
        if pid == _PAT_PID:
            last_pat = start
            map_pid = next(_programs(packet), map_pid)
            wanted.add(map_pid)
        elif pid == map_pid:
            section = _section(packet, _PMT_TABLE)
            if section and section != current:
                current = section
                yield last_pat, pid, tuple(_entries(section))


def _section_starts(path: Path, wanted: set[int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, PID and bytes of each packet in which a section begins, and what follows of it.

    Only the PIDs in `wanted` are read; the caller may add to it between packets.
    """
    window_at = 0
    with path.open("rb") as file:
        while window := file.read(_WINDOW_BYTES):
            at, step = packet_grid(window) or (len(window), TS_PACKET_BYTES)
            starts = window[at + 1 :: step].translate(_STARTING)
            number = starts.find(_STARTS)
            while number >= 0:
                start = at + number * step
                pid = _pid(window[start : start + TS_PACKET_BYTES])
                if pid in wanted:
                    yield window_at + start, pid, _with_rest(window, start, step)
                number = starts.find(_STARTS, number + 1)
            window_at += len(window)


def _with_rest(window: bytes, start: int, step: int) -> bytes:
    """Return the packet at `start`, and the payload of later ones in which its section goes on."""
    packet = window[start : start + TS_PACKET_BYTES]
    end = _section_end(packet)
    last = min(len(window) - TS_PACKET_BYTES, start + _SECTION_REACH * step)
    for later in range(start + step, last + 1, step):
        following = window[later : later + TS_PACKET_BYTES]
        if len(packet) >= end or (_pid(following) == _pid(packet) and following[1] & _STARTS):
            break
        if _pid(following) == _pid(packet):
            packet += following[_payload_at(following) :]
    return packet


def _pid(packet: bytes) -> int:
    return int.from_bytes(packet[1:3]) & _NULL_PID


def _payload_at(packet: bytes) -> int:
    """Return where a packet's payload begins: after its adaptation field."""
    return 4 + (1 + packet[4] if packet[3] & 0x20 else 0)


def _section_at(packet: bytes) -> int:
    """Return where the first section begins that begins in this packet."""
    at = _payload_at(packet)
    return at + 1 + packet[at] if at < len(packet) else at


def _section_end(packet: bytes) -> int:
    """Return where this section ends, which may be beyond the packet; 0 for half a packet."""
    if len(packet) < TS_PACKET_BYTES:
        return 0
    at = _section_at(packet)
    return at + 3 + (int.from_bytes(packet[at + 1 : at + 3]) & 0xFFF)


def _section(packet: bytes, table: int) -> bytes | None:
    """Return the table's section that begins in this packet, without its checksum."""
    if len(packet) < TS_PACKET_BYTES:
        return None
    start, end = _section_at(packet), _section_end(packet)
    section = packet[start:end]
    if section[:1] != bytes([table]):
        return None
    return section[:-4] if len(section) == end - start > 12 else None


def _programs(packet: bytes) -> Iterator[int]:
    """Yield the PID of the map of each program that a PAT lists."""
    section = _section(packet, _PAT_TABLE) or b""
    for at in range(8, len(section) - 3, 4):
        program, pid = (int.from_bytes(section[at + by : at + by + 2]) for by in (0, 2))
        if program:
            yield pid & 0x1FFF


def _entries(section: bytes) -> Iterator[Entry]:
    at = 12 + (int.from_bytes(section[10:12]) & 0xFFF)
    while at + 5 <= len(section):
        pid, described = (int.from_bytes(section[at + by : at + by + 2]) for by in (1, 3))
        end = at + 5 + (described & 0xFFF)
        carried = _carried(section[at + 5 : end]) if section[at] == _PRIVATE_DATA else b""
        yield Entry(section[at], pid & 0x1FFF, carried)
        at = end


def _carried(descriptors: bytes) -> bytes:
    """Return what private data is by its descriptors: a tag of DVB or a format; empty if unknown.

    Teletext, subtitles and sound of several codecs have the same stream type.
    """
    tags: dict[int, bytes] = {}
    at = 0
    while at + 2 <= len(descriptors):
        end = at + 2 + descriptors[at + 1]
        tags.setdefault(descriptors[at], descriptors[at + 2 : end])
        at = end
    if known := [tag for tag in tags if tag in _DVB_TAGS]:
        return bytes([min(known)])
    registered = tags.get(_REGISTRATION, b"")[:4]
    return _TAGS_OF_FORMATS.get(registered, registered)
