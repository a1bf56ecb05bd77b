"""Containers and streams accepted though they tell little or wrong things of themselves."""

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_testing import RATE, click_times, decode_sound, read_numbers, some_slow

from worker_server.media import Preparation, Source, SourceError, plan_parts, probe

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
PICTURE = "-f lavfi -i testsrc2=s=160x90:r=25:d={seconds}"
CLICKS = (
    "-f lavfi -i"
    " aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d={seconds}"
)
FRAGMENTS = "-movflags +frag_keyframe+empty_moov+default_base_moof"

FORMATS = {
    "wmv": ("s.wmv", "-c:v wmv2 -q:v 2 -g 30 -c:a wmav2"),
    "wmv with mpeg-4": ("s.asf", "-c:v msmpeg4 -q:v 2 -c:a libmp3lame"),
    "mpg": ("s.mpg", "-c:v mpeg2video -q:v 2 -bf 2 -g 15 -c:a mp2"),
    "vob": ("s.vob", "-c:v mpeg2video -q:v 2 -bf 2 -g 15 -c:a ac3"),
    "mpeg-1": ("s.mpg", "-c:v mpeg1video -q:v 2 -g 15 -c:a mp2"),
    "ogv": ("s.ogv", "-c:v libtheora -q:v 10 -c:a libvorbis"),
    "gif": ("s.gif", "-c:v gif -an"),
    "apng": ("s.apng", "-c:v apng -pix_fmt rgb24 -an"),
}
FORMAT_KINDS = some_slow(FORMATS, "wmv with mpeg-4", "vob", "mpeg-1")


@pytest.mark.parametrize("kind", FORMAT_KINDS)
def test_more_formats_keep_every_frame(kind: str, numbered: Numbered, prepared: Prepared) -> None:
    name, options = FORMATS[kind]
    source, path = prepared(numbered(60, "25", name, options))
    assert (source.frame_rate, source.width, source.height) == (25, 320, 180)
    assert read_numbers(path) == list(range(60))


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_advanced_professional_video_of_phones(
    engine: str,
    numbered: Numbered,
    render_all: Callable[..., list[object]],
    joined_numbers: Callable[[list[object]], list[int]],
) -> None:
    path = numbered(30, "25", "s.mp4", "-c:v liboapv -pix_fmt yuv422p10le")
    assert joined_numbers(render_all(path, engine=engine)) == list(range(30))


@pytest.mark.parametrize("name", ["s.wmv", "s.mpg", "s.ogv"])
def test_more_formats_keep_sound_in_place(name: str, make: Make, prepared: Prepared) -> None:
    sound = {"s.wmv": "wmav2", "s.mpg": "mp2", "s.ogv": "libvorbis"}[name]
    arguments = f"{PICTURE.format(seconds=3)} {CLICKS.format(seconds=3)} -c:a {sound}"
    _, path = prepared(make(arguments, name))
    # What these codecs put before their first block is less than a block.
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1], abs=0.05)


@pytest.mark.parametrize("before", [77, 188 * 3 + 50, 5000])
def test_a_transport_stream_that_begins_within_a_packet(
    before: int, numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    whole = numbered(50, "25", "s.ts", f"{X264} -g 10 -c:a aac").read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(os.urandom(before) + whole)
    source, prepared_path = prepared(path)
    assert source.demuxer == "matroska"
    assert read_numbers(prepared_path) == list(range(50))


def test_a_transport_stream_with_error_correction(
    numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    whole = numbered(50, "25", "s.ts", f"{X264} -g 10 -c:a aac").read_bytes()
    packets = [whole[at : at + 188] + bytes(16) for at in range(0, len(whole), 188)]
    path = tmp_path / "dvb.ts"
    path.write_bytes(b"".join(packets))
    assert read_numbers(prepared(path)[1]) == list(range(50))


def edit(path: Path, media_s: Fraction, length_s: Fraction, to: Path) -> Path:
    """Set the one entry of each track's edit list: it begins `media_s` in, and lasts `length_s`."""
    content = bytearray(path.read_bytes())
    movie_clock = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    at = 0
    while (at := content.find(b"trak", at + 4)) > 0:
        clock = struct.unpack_from(">I", content, content.index(b"mdhd", at) + 16)[0]
        entry = content.index(b"elst", at) + 12
        struct.pack_into(">Ii", content, entry, int(length_s * movie_clock), int(media_s * clock))
    struct.pack_into(">I", content, content.index(b"mvhd") + 20, int(length_s * movie_clock))
    to.write_bytes(content)
    return to


@pytest.mark.parametrize(("begin", "frames"), [(13, 20), (0, 30), (40, 60)])
def test_an_edit_list_that_shows_less_than_is_stored(
    begin: int,
    frames: int,
    numbered: Numbered,
    render_all: Callable[..., list[object]],
    joined_numbers: Callable[[list[object]], list[int]],
    tmp_path: Path,
) -> None:
    whole = numbered(150, "25", "s.mp4", f"{X264} -g 25 -bf 0 -c:a aac")
    trimmed = edit(whole, Fraction(begin, 25), Fraction(frames, 25), tmp_path / "trimmed.mp4")
    clips = render_all(trimmed, part_s=2)
    assert joined_numbers(clips) == list(range(begin, begin + frames))


@pytest.mark.parametrize(
    "options",
    ["-c:v mjpeg -q:v 3 -c:a pcm_s16le", "-c:v ffv1 -c:a pcm_s16le", "-c:v rawvideo -c:a flac"],
)
def test_a_live_recording_of_a_constant_bit_rate_is_whole(
    options: str, numbered: Numbered, prepared: Prepared
) -> None:
    path = numbered(50, "25", "s.mkv", f"{options} -live 1")
    source, prepared_path = prepared(path)
    assert source.frame_count == 50
    assert read_numbers(prepared_path) == list(range(50))


@pytest.mark.parametrize("offset_s", [2, 100, 86_400])
def test_fragments_that_begin_late(offset_s: int, numbered: Numbered, prepared: Prepared) -> None:
    late = f"{X264} -g 10 -c:a aac -output_ts_offset {offset_s} {FRAGMENTS}"
    source, path = prepared(numbered(75, "25", "late.mp4", late))
    assert (source.frame_rate, source.frame_count) == (25, 75)
    assert read_numbers(path) == list(range(75))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.mkv", ""),
        ("s.flv", ""),
        ("s.wmv", "-c:v wmv2"),
        ("s.mp4", "-movflags +faststart"),
        ("s.mp4", "-movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx"),
    ],
)
def test_a_file_cut_at_sixty_percent_is_found_out(
    name: str, options: str, make: Make, tmp_path: Path
) -> None:
    arguments = f"{PICTURE.format(seconds=10)} {CLICKS.format(seconds=10)} {X264} -g 25 {options}"
    whole = make(arguments, name, "-ar", "44100").read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(SourceError) as caught:
        probe(path)
    assert caught.value.code == "source_damaged"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.mp4", FRAGMENTS),
        ("s.mov", f"{FRAGMENTS} -bf 2"),
        ("s.flv", "-flvflags no_duration_filesize -ar 44100"),
        ("s.mkv", "-live 1"),
    ],
)
@pytest.mark.parametrize("share", [0.6, 0.85])
def test_what_a_recorder_wrote_before_it_was_stopped(
    share: float,
    name: str,
    options: str,
    numbered: Numbered,
    make: Make,
    prepared: Prepared,
    tmp_path: Path,
) -> None:
    picture = numbered(150, "25", "picture.mp4", f"{X264} -g 25 {options}", sound=False)
    streams = f"-i {picture} {CLICKS.format(seconds=6)} -map 0:v -map 1:a -c:v copy -c:a aac"
    whole = make(f"{streams} {options.replace('-bf 2', '')}", name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    _, prepared_path = prepared(path)
    numbers = read_numbers(prepared_path)
    # The last ones may be damaged, or be lost between others that were stored before them.
    whole_ones = len(numbers) - 8
    assert numbers[:whole_ones] == list(range(whole_ones))
    assert 150 * share - 30 < len(numbers) <= 150
    seconds = range(int(whole_ones / 25))
    click_times_s = click_times(prepared_path)
    assert click_times_s[: len(seconds)] == pytest.approx([n + 0.1 for n in seconds], abs=0.05)


@pytest.mark.parametrize("header_bytes", [20, 120, 300])
def test_a_recorder_that_was_stopped_within_the_header_of_a_fragment(
    header_bytes: int, numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    whole = numbered(100, "25", "s.mp4", f"{X264} -g 25 {FRAGMENTS}").read_bytes()
    last = whole.rindex(b"moof", 0, whole.rindex(b"moof")) - 4
    path = tmp_path / "s.mp4"
    path.write_bytes(whole[: last + header_bytes])
    _, prepared_path = prepared(path)
    numbers = read_numbers(prepared_path)
    assert len(numbers) in (50, 75)
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("name", ["s.ts", "s.mkv", "s.mp4"])
def test_announced_sound_without_packets_is_no_sound(
    name: str, make: Make, prepared: Prepared
) -> None:
    arguments = f"{PICTURE.format(seconds=2)} {CLICKS.format(seconds=2)} {X264} -c:a aac"
    path = make(f"{arguments} -bsf:a noise=drop=1", name)
    source, _ = prepared(path)
    assert not source.has_audio
    assert source.frame_count == 50


def tone_of(path: Path) -> float:
    spectrum = np.abs(np.fft.rfft(decode_sound(path)[0, :24_000]))
    return float(spectrum.argmax()) * RATE / 24_000


@pytest.mark.parametrize(
    ("flags", "expected_hz"),
    [
        (("0", "default", "0"), 2000),
        (("default+comment", "0", "default"), 4000),
        (("visual_impaired", "0", "0"), 2000),
        (("hearing_impaired", "0", "0"), 2000),
        (("default+hearing_impaired", "0", "default"), 4000),
        (("0", "0", "0"), 500),
        (("default+comment", "comment", "visual_impaired"), 500),
    ],
)
def test_the_sound_that_most_listeners_want(
    flags: tuple[str, str, str], expected_hz: int, make: Make
) -> None:
    tones = " ".join(f"-f lavfi -i sine=f={hertz}:d=1" for hertz in (500, 2000, 4000))
    dispositions = " ".join(f"-disposition:a:{n} {flag}" for n, flag in enumerate(flags))
    streams = f"-map 0 -map 1 -map 2 -map 3 {X264} -c:a flac {dispositions}"
    path = make(f"{PICTURE.format(seconds=1)} {tones} {streams}", "many.mkv")
    source = probe(path)
    only = make(f"-i {path} -map 0:{source.audio_index} -c copy", "only.mkv")
    assert tone_of(only) == pytest.approx(expected_hz, abs=5)


@pytest.mark.parametrize("name", ["s.mkv", "s.ts", "s.mp4"])
def test_one_frame_without_a_duration(
    name: str,
    numbered: Numbered,
    render_all: Callable[..., list[object]],
    joined_numbers: Callable[[list[object]], list[int]],
) -> None:
    clips = render_all(numbered(1, "25", name, f"{X264} -bsf:v setts=duration=0", sound=False))
    assert joined_numbers(clips) == [0]


@pytest.mark.parametrize("name", ["s.ts", "s.mkv", "s.flv"])
def test_interlacing_that_begins_later_is_found(name: str, make: Make, tmp_path: Path) -> None:
    picture = f"-f lavfi -i testsrc2=s=160x96:r=25:d=1 {X264} -pix_fmt yuv420p"
    plain = f"{picture} -x264-params fake-interlaced=1"
    interlaced = f"{picture} -flags +ilme+ildct -x264-params tff=1"
    listing = tmp_path / "list.txt"
    pieces = [make(arguments, "piece.ts") for arguments in (plain, interlaced)]
    listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
    source = probe(make(f"-f concat -safe 0 -i {listing} -c copy", name))
    assert source.interlaced
    assert source.frame_rate == 25


@pytest.mark.parametrize(
    ("keep", "rate", "name", "expected", "frames"),
    [
        # One gap of three seconds.
        ("not(between(n,60,134))", "25", "s.mkv", 25, 300),
        # A picture a second, then all of them.
        ("if(lt(n,480),not(mod(n,60)),1)", "60", "s.mp4", 60, 720),
        # Sags: two of three, one of two.
        (
            "if(between(n,100,200),mod(n,3),if(between(n,300,400),mod(n,2),1))",
            "60",
            "s.mkv",
            60,
            600,
        ),
        ("not(between(n,100,130))", "30000/1001", "s.mkv", Fraction(30000, 1001), 240),
        ("lt(random(1),0.8)+eq(n,0)", "25", "s.avi", 25, 228),
    ],
    ids=["one gap", "screen recording", "game", "ntsc", "avi"],
)
def test_a_grid_with_gaps_keeps_every_frame(
    keep: str, rate: str, name: str, expected: Fraction, frames: int, numbered: Numbered, make: Make
) -> None:
    whole = numbered(frames, rate, "whole.mp4", f"{X264} -g 1 -crf 25", sound=False)
    select = keep.replace(",", "\\,")
    mode = "-fps_mode passthrough" if name != "s.avi" else "-fps_mode vfr"
    path = make(f"-i {whole} -vf select={select} {mode} {X264}", name)
    source = probe(path)
    assert source.frame_rate == expected
    if not name.endswith("avi"):
        assert source.frame_count == frames
        assert source.packet_count < frames
    assert all(part.end_s <= 20.1 or part.number for part in plan_parts(source))


def test_a_first_frame_moved_by_the_sound_keeps_the_rate(numbered: Numbered) -> None:
    path = numbered(250, "25", "s.mp4", f"{X264} -c:a aac -movflags +frag_keyframe+empty_moov")
    source = probe(path)
    assert (source.frame_rate, source.frame_count) == (25, 250)
    assert source.preparation is Preparation.REMUX
