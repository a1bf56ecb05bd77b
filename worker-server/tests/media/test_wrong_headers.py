"""Files whose headers tell a wrong length, or leave out when pictures are shown."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers, some_slow

from worker_server.media import Source, SourceError, probe

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

CLICKS = (
    "-f lavfi -i"
    " aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=44100:d={seconds}"
)
# The distance of the length from these bytes: MKV's Duration, onMetaData, main header, properties.
LENGTHS = {
    "s.mkv": (b"\x44\x89\x88", 3, ">d"),
    "s.flv": (b"duration\0", 9, ">d"),
    "s.avi": (b"avih", 24, "<I"),
    "s.wmv": (bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365"), 64, "<Q"),
}
OPTIONS = {"s.avi": "-c:v mpeg4 -q:v 2", "s.wmv": "-c:v wmv2 -q:v 2"}


def with_ten_times_its_length(path: Path, to: Path) -> Path:
    """Write a file whose header has ten times its length."""
    name = path.name.split("-")[-1]
    mark, distance, kind = LENGTHS[name]
    content = bytearray(path.read_bytes())
    at = content.index(mark) + distance
    (length,) = struct.unpack_from(kind, content, at)
    struct.pack_into(kind, content, at, length * 10)
    while name == "s.avi" and (at := content.find(b"strh", at)) > 0:
        at += 8
        (length,) = struct.unpack_from("<I", content, at + 32)
        struct.pack_into("<I", content, at + 32, length * 10)
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("name", LENGTHS)
def test_whole_file_that_promises_more(
    name: str, numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    made = numbered(50, "25", name, f"{OPTIONS.get(name, '')} -ar 44100 -g 25")
    path = with_ten_times_its_length(made, tmp_path / name)
    assert read_numbers(prepared(path)[1]) == list(range(50))


@pytest.mark.parametrize("name", LENGTHS)
def test_file_that_promises_more_and_is_cut_off(
    name: str, numbered: Numbered, tmp_path: Path
) -> None:
    made = numbered(50, "25", name, f"{OPTIONS.get(name, '')} -ar 44100 -g 25")
    path = with_ten_times_its_length(made, tmp_path / name)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SourceError) as caught:
        probe(path)
    assert caught.value.code == "source_damaged"


def as_a_crash_leaves_it(path: Path, share: float, to: Path) -> Path:
    """Write the first part of an AVI, without the lengths that are written at the end."""
    content = bytearray(path.read_bytes())
    movie, main = content.index(b"movi"), content.index(b"avih")
    ats = [4, movie - 4, main + 24]
    at = 0
    while (at := content.find(b"strh", at + 1, movie)) > 0:
        ats.append(at + 40)
    for at in ats:
        struct.pack_into("<I", content, at, 0)
    to.write_bytes(content[: movie + int((len(content) - movie) * share)])
    return to


@pytest.mark.parametrize("share", [0.6, 0.61, 0.62, 0.63])
@pytest.mark.parametrize("codec", ["mjpeg -pix_fmt yuvj420p", "mpeg4 -g 10"])
def test_avi_whose_recorder_crashed(
    codec: str, share: float, numbered: Numbered, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    film = numbered(100, "25", "s.mkv", f"-c:v {codec} -q:v 3", sound=False)
    whole = make(f"-i {film} {CLICKS.format(seconds=4)} -c:v copy -c:a pcm_s16le", "s.avi")
    _, path = prepared(as_a_crash_leaves_it(whole, share, tmp_path / "s.avi"))
    numbers = read_numbers(path)
    assert 50 < len(numbers) < 75
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert click_times(path)[:2] == pytest.approx([0.1, 1.1], abs=0.03)


@pytest.mark.parametrize("kept", [0.5, 0.502, 0.504])
def test_avi_with_a_planned_length_and_no_size(
    kept: float, numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    """As of a recorder that crashed: it would have written both at its end."""
    content = bytearray(numbered(100, "25", "s.avi", "-c:v mjpeg -q:v 3").read_bytes())
    struct.pack_into("<I", content, 4, 0)
    path = tmp_path / "s.avi"
    path.write_bytes(content[: int(content.rindex(b"idx1") * kept)])
    numbers = read_numbers(prepared(path)[1])
    assert 40 < len(numbers) < 60
    assert numbers[:-1] == list(range(len(numbers) - 1))


@pytest.mark.parametrize("kept", [-2000, -60])
@pytest.mark.parametrize("codec", ["mjpeg -pix_fmt yuvj420p", "mpeg4 -g 10"])
def test_avi_that_ends_within_its_last_picture(
    codec: str, kept: int, numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    """Its header has the length of the whole; less than a second is missing, and the index."""
    whole = numbered(100, "25", "s.avi", f"-c:v {codec} -q:v 3", sound=False).read_bytes()
    path = tmp_path / "s.avi"
    path.write_bytes(whole[: whole.rindex(b"idx1") + kept])
    numbers = read_numbers(prepared(path)[1])
    # Decoders show what there is of the picture that is cut off, or leave it out.
    assert 96 < len(numbers) <= 100
    assert numbers[:-1] == list(range(len(numbers) - 1))


@pytest.mark.parametrize(
    "kind", some_slow(["mp4", "mkv", "flv", "ts", "hevc mp4", "mpeg-4 mp4"], "mkv", "flv")
)
def test_pictures_out_of_order_with_times_of_decoding(
    kind: str, numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    codec = {
        "hevc mp4": "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3",
        "mpeg-4 mp4": "-c:v mpeg4 -q:v 2 -bf 2",
    }.get(kind, "-c:v libx264 -preset ultrafast -crf 10 -bf 2")
    whole = numbered(75, "25", "s.mp4", f"{codec} -g 25", sound=False)
    read = f"-i {whole} {CLICKS.format(seconds=3)} -c:v copy -c:a aac"
    path = make(f"{read} -bsf:v setts=ts=DTS-STARTDTS", f"s.{kind.split()[-1]}")
    source, prepared_path = prepared(path)
    assert source.frame_rate == 25
    assert read_numbers(prepared_path) == list(range(75))
    assert click_times(prepared_path) == pytest.approx([0.1, 1.1, 2.1], abs=0.03)


@pytest.mark.parametrize("left", ["no index", "half an index", "half of the pictures"])
def test_recording_or_transfer_that_was_interrupted(
    left: str, numbered: Numbered, tmp_path: Path
) -> None:
    whole = numbered(25, "25", "s.mp4").read_bytes()
    index = whole.index(b"moov") - 4
    ends = {"no index": index, "half an index": index + 300, "half of the pictures": index // 2}
    path = tmp_path / "s.mp4"
    path.write_bytes(whole[: ends[left]])
    with pytest.raises(SourceError, match="no index") as caught:
        probe(path)
    assert caught.value.code == "source_damaged"
