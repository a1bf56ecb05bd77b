"""Whatever is wrong with the pictures to copy is found, and they are not copied."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import pytest

from worker_server.media import EncodeFailed, PartEdit, plan_parts, probe, renderer
from worker_server.media.rendering.h264 import units

Make = Callable[..., Path]
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
CODED = f"-preset medium -crf 20 -bf 2 -b_strategy 0 -g 25 -sc_threshold 0 {TAGS}"
SLICES = "-x264-params slices=4:b-pyramid=none"
# Places in decoding order, in the second group: I, P, B, B, P, B, B …
IDR, P, B = 25, 26, 27
LAST_B = 72  # of the last group but one


class Coded(NamedTuple):
    data: bytes
    pts: int
    dts: int
    is_key: bool


Packets = list[Coded]


@pytest.fixture(scope="module")
def source_path(numbered: Make) -> Path:
    return numbered(100, "25", "s.mp4", f"{CODED} {SLICES}", sound=False)


def rewritten(
    path: Path, target: Path, change: Callable[[Packets], Packets], record: bytes
) -> Path:
    """Write the packets, changed; with another avcC if `record` is not empty."""
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        video = source.streams.video[0]
        assert video.time_base is not None
        stream = output.add_stream_from_template(video)
        if record:
            assert record != bytes(stream.codec_context.extradata or b"")
            stream.codec_context.extradata = record
        packets = [
            Coded(bytes(packet), packet.pts, packet.dts or 0, packet.is_keyframe)
            for packet in source.demux(video)
            if packet.pts is not None
        ]
        for data, pts, dts, is_key in change(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, video.time_base
            packet.pts, packet.dts, packet.is_keyframe = pts, dts, is_key
            output.mux(packet)
    return target


def with_data(place: int, change: Callable[[bytes], bytes]) -> Callable[[Packets], Packets]:
    def run(packets: Packets) -> Packets:
        changed = packets[place]._replace(data=change(packets[place].data))
        return [*packets[:place], changed, *packets[place + 1 :]]

    return run


def flipped(data: bytes) -> bytes:
    """Flip a bit in each of 16 bytes in the middle of the second slice."""
    slices = list(units(data, 4))
    middle = len(slices[1]) // 2
    bits = bytes(byte ^ 0x10 for byte in slices[1][middle : middle + 16])
    slices[1] = slices[1][:middle] + bits + slices[1][middle + 16 :]
    return joined(slices)


def without_a_slice(data: bytes) -> bytes:
    slices = list(units(data, 4))
    return joined([slices[0], *slices[2:]])


def cut_off(data: bytes) -> bytes:
    """Take away the second half of the last slice."""
    slices = list(units(data, 4))
    return joined([*slices[:-1], slices[-1][: len(slices[-1]) // 2]])


def joined(slices: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(4) + unit for unit in slices)


def in_each_other_s_place(first: int, second: int) -> Callable[[Packets], Packets]:
    """Exchange the data of two pictures, not their times."""

    def run(packets: Packets) -> Packets:
        changed = list(packets)
        changed[first] = packets[first]._replace(data=packets[second].data)
        changed[second] = packets[second]._replace(data=packets[first].data)
        return changed

    return run


def lacking(place: int) -> Callable[[Packets], Packets]:
    return lambda packets: [*packets[:place], *packets[place + 1 :]]


def twice(place: int) -> Callable[[Packets], Packets]:
    """Replace the data of the next picture by this one's."""

    def run(packets: Packets) -> Packets:
        repeated = packets[place + 1]._replace(data=packets[place].data)
        return [*packets[: place + 1], repeated, *packets[place + 2 :]]

    return run


CHANGES = {
    **{
        f"{change.__name__}, {name}": with_data(place, change)
        for change in (flipped, without_a_slice, cut_off)
        for name, place in {"IDR": IDR, "P": P, "B": B, "last B": LAST_B}.items()
    },
    "P and B exchanged": in_each_other_s_place(P, B),
    "two B exchanged": in_each_other_s_place(B, B + 1),
    "two P exchanged": in_each_other_s_place(P, P + 3),
    "P missing": lacking(P),
    "B missing": lacking(B),
    "P twice": twice(P + 3),
}


def is_refused(path: Path, copy: Callable[..., Any]) -> bool:
    """Return whether the part is not copied, by what the probe says or while it is made."""
    source = probe(path)
    part = plan_parts(source)[0]
    if not renderer("copy", "ffmpeg").can_render(PartEdit.of(source, path, part)):
        return True
    with pytest.raises(EncodeFailed) as caught:
        copy(source, path, part)
    return "not copied" in caught.value.stderr_tail


def test_undamaged_source_is_copied(
    source_path: Path, copy: Callable[..., Any], tmp_path: Path
) -> None:
    path = rewritten(source_path, tmp_path / "same.mp4", list, b"")
    source = probe(path)
    assert copy(source, path, plan_parts(source)[0]).numbers() == list(range(100))


@pytest.mark.parametrize("kind", CHANGES)
def test_damage_is_found(
    kind: str, source_path: Path, copy: Callable[..., Any], tmp_path: Path
) -> None:
    path = rewritten(source_path, tmp_path / "damaged.mp4", CHANGES[kind], b"")
    assert is_refused(path, copy)


@pytest.mark.parametrize("other", ["-x264-params slices=4:cabac=0", "-x264-params 8x8dct=0"])
def test_parameter_sets_of_another_stream_are_found(
    other: str,
    source_path: Path,
    numbered: Make,
    copy: Callable[..., Any],
    tmp_path: Path,
) -> None:
    with av.open(str(numbered(25, "25", "o.mp4", f"{CODED} {other}", sound=False))) as container:
        record = bytes(container.streams.video[0].codec_context.extradata or b"")
    path = rewritten(source_path, tmp_path / "exchanged.mp4", list, record)
    assert is_refused(path, copy)
