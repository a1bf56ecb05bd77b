"""Sources that change on the way, or with wrong stamps: each frame comes out once, in order."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_testing import click_times, level, read_numbers, some_slow, with_flash_stamps

from worker_server.media import Preparation, Source, probe

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]
Join = Callable[..., Path]

VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M"
X264 = "-c:v libx264 -preset ultrafast -crf 10"
CLICKS = (
    "-f lavfi -i"
    " aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d={seconds}"
)


@pytest.fixture
def join(make: Make, tmp_path: Path) -> Join:
    """Join files with ffmpeg's concat demuxer, copying their streams."""

    def run(name: str, *pieces: Path, options: str = "") -> Path:
        listing = tmp_path / "list.txt"
        listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
        return make(f"-f concat -safe 0 -i {listing} -c copy {options}", name)

    return run


SIZES = {
    "vp8": ("webm", f"{VP8} -c:a libopus"),
    "vp9": ("webm", f"{VP9} -c:a libopus"),
    "h264 in matroska": ("mkv", f"{X264} -bf 2"),
    "h264 in a transport stream": ("ts", f"{X264} -bf 2 -g 25"),
    "mpeg-2": ("ts", "-c:v mpeg2video -q:v 2 -g 12"),
    "motion jpeg": ("mkv", "-c:v mjpeg -q:v 3 -pix_fmt yuvj420p"),
    "hevc": ("ts", "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10"),
}


@pytest.mark.parametrize("kind", some_slow(SIZES, "vp9", "mpeg-2", "motion jpeg", "hevc"))
def test_each_picture_of_changing_size_is_shown_whole(
    kind: str, numbered: Numbered, join: Join, prepared: Prepared
) -> None:
    name, options = SIZES[kind]
    first = numbered(40, "25", f"a.{name}", options)
    second = numbered(30, "25", f"b.{name}", options, first=40, size=(256, 192))
    third = numbered(30, "25", f"c.{name}", options, first=70)
    source, path = prepared(join(f"joined.{name}", first, second, third))
    assert (source.width, source.height, source.frame_rate) == (320, 180, 25)
    # In a piece whose sound is longer than the picture, the last frame may be repeated.
    numbers = read_numbers(path)
    assert list(dict.fromkeys(numbers)) == list(range(100))
    assert numbers == sorted(numbers)
    assert len(numbers) <= 102


def test_size_changes_on_next_to_and_between_part_boundaries(
    numbered: Numbered,
    join: Join,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    pieces, first = [], 0
    for frames, size in ((50, (320, 180)), (26, (240, 180)), (49, (320, 180)), (25, (256, 144))):
        pieces.append(numbered(frames, "25", "p.webm", f"{VP8} -an", first=first, size=size))
        first += frames
    clips = render_all(join("joined.webm", *pieces), part_s=2)
    assert {(clip.edit.width, clip.edit.height) for clip in clips} == {(320, 180)}
    assert joined_numbers(clips) == list(range(150))


def test_a_change_of_pixel_format_keeps_all_frames(
    numbered: Numbered, join: Join, prepared: Prepared
) -> None:
    first = numbered(30, "25", "a.mkv", f"{X264} -an")
    second = numbered(30, "25", "b.mkv", f"{X264} -an -pix_fmt yuv444p", first=30)
    assert read_numbers(prepared(join("joined.mkv", first, second))[1]) == list(range(60))


def pq(nits: float) -> float:
    """Return the signal of a luminance (ITU-R BT.2100, table 4)."""
    powered = (nits / 10_000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375)


def hlg(nits: float) -> float:
    """Return the signal of a luminance on a display of 1000 nits (table 5)."""
    light, a, b, c = (nits / 1000) ** (1 / 1.2), 0.17883277, 0.28466892, 0.55991073
    return math.sqrt(3 * light) if light <= 1 / 12 else a * math.log(12 * light - b) + c


SDR_GREY = 110  # in limited range
GREY_NITS = 203 * ((SDR_GREY - 16) / 219) ** 2.4  # of a display (ITU-R BT.1886)
HDR = {"smpte2084": pq(GREY_NITS), "arib-std-b67": hlg(GREY_NITS)}


@pytest.mark.parametrize(
    ("hdr_first", "transfer", "name"),
    [
        (True, "smpte2084", "joined.ts"),
        (False, "smpte2084", "joined.mkv"),
        (False, "arib-std-b67", "joined.ts"),
    ],
)
def test_hdr_and_sdr_of_one_file_are_equally_bright(
    hdr_first: bool,
    transfer: str,
    name: str,
    make: Make,
    join: Join,
    render_all: Callable[..., list[Any]],
) -> None:
    def piece(code: int, tags: str) -> Path:
        grey = f"-f lavfi -i color=s=320x180:r=25:d=1 -vf format=yuv420p10le,lutyuv={code}:512:512"
        x264 = f"{X264} -profile:v high10 -g 25 -x264-params {tags}"
        return make(f"{grey} {x264}", name)

    sdr = piece(4 * SDR_GREY, "colorprim=bt709:transfer=bt709:colormatrix=bt709")
    code = 64 + round(876 * HDR[transfer])
    hdr = piece(code, f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc")
    pieces = (hdr, sdr) if hdr_first else (sdr, hdr)
    [clip] = render_all(join(name, *pieces), part_s=20)
    with av.open(str(clip.path)) as container:
        greys = [int(np.asarray(frame.to_ndarray())[90, 160]) for frame in container.decode(0)]
    assert greys[clip.edit.frames_before :][:50] == pytest.approx([SDR_GREY] * 50, abs=3)


def test_pieces_of_one_shape_stay_plain(numbered: Numbered, join: Join) -> None:
    first = numbered(30, "25", "a.mkv", f"{X264} -an -g 10")
    second = numbered(30, "25", "b.mkv", f"{X264} -an -g 10 -bf 0", first=30)
    assert probe(join("joined.mkv", first, second)).preparation is Preparation.NONE


LAYOUT = "-af aformat=channel_layouts="
LATM = "-mpegts_flags +latm -c:a aac"
AC3, EAC3 = "-c:a ac3 -ac 6", "-c:a eac3 -ac 6"
DTS, TRUEHD = "-c:a dca -strict -2", "-c:a truehd -strict -2"
SOUNDS = {
    "ac-3, 5.1 to stereo": ("mkv", "-c:a ac3 -ac 6", "-c:a ac3 -ac 2"),
    "mp2, stereo to mono": ("ts", "-c:a mp2 -ac 2", "-c:a mp2 -ac 1"),
    "aac, 48 to 44.1 kHz": ("ts", "-c:a aac -ar 48000", "-c:a aac -ar 44100"),
    "aac, stereo to 5.1": ("ts", "-c:a aac -ac 2", "-c:a aac -ac 6"),
    "ac-3, 5.0 to 5.1": ("mkv", f"-c:a ac3 {LAYOUT}5.0(side)", f"-c:a ac3 {LAYOUT}5.1(side)"),
    "ac-3, 3.0 to 3.1": ("ts", f"-c:a ac3 {LAYOUT}3.0", f"-c:a ac3 {LAYOUT}3.1"),
    "e-ac-3, 5.0 to 5.1": ("ts", f"-c:a eac3 {LAYOUT}5.0(side)", f"-c:a eac3 {LAYOUT}5.1(side)"),
    "ac-3, levels of the mix": ("mkv", AC3, f"{AC3} -center_mixlev 0.707"),
    "ac-3, further levels": ("ts", f"{AC3} -ltrt_cmixlev 0.5", f"{AC3} -ltrt_cmixlev 1.0"),
    "e-ac-3, levels of the mix": ("mkv", EAC3, f"{EAC3} -loro_cmixlev 1.0"),
    "latm, stereo to 5.1": ("ts", f"{LATM} -ac 2", f"{LATM} -ac 6"),
    "latm, 48 to 44.1 kHz": ("ts", f"{LATM} -ar 48000", f"{LATM} -ar 44100"),
    "dts, 5.1 to stereo": ("mkv", f"{DTS} -ac 6", f"{DTS} -ac 2"),
    "dts, 48 to 44.1 kHz": ("ts", f"{DTS} -ac 2 -ar 48000", f"{DTS} -ac 2 -ar 44100"),
    "truehd, 5.1 to stereo": ("mkv", f"{TRUEHD} -ac 6", f"{TRUEHD} -ac 2"),
}
QUICK_SOUNDS = {"ac-3, 5.1 to stereo", "aac, 48 to 44.1 kHz", "latm, stereo to 5.1"}


@pytest.mark.parametrize("kind", some_slow(SOUNDS, *(set(SOUNDS) - QUICK_SOUNDS)))
def test_sound_of_changing_format_stays_in_place(
    kind: str, make: Make, join: Join, prepared: Prepared
) -> None:
    name, *sounds = SOUNDS[kind]
    picture = f"-f lavfi -i testsrc2=s=160x90:r=25:d=2 {CLICKS.format(seconds=2)} {X264} -g 25"
    pieces = [make(f"{picture} {sound}", f"piece.{name}") for sound in sounds]
    source, path = prepared(join(f"joined.{name}", *pieces))
    assert (source.frame_count, source.preparation) == (100, Preparation.NORMALIZE)
    # Codecs delay sound by less than one of their blocks.
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.045)


def test_mono_keeps_its_level_where_the_sound_changes(
    make: Make, join: Join, prepared: Prepared
) -> None:
    tone = "-f lavfi -i testsrc2=s=160x90:r=25:d=2 -f lavfi -i sine=d=2"
    pieces = [make(f"{tone} {X264} -g 25 -c:a mp2 -ac {n}", "piece.ts") for n in (1, 2)]
    _, path = prepared(join("joined.ts", *pieces))
    # The sine source has an amplitude of 1/8; ffmpeg makes it 3 dB quieter where it encodes two
    # channels.
    assert level(path, 0.5, 1.5) == pytest.approx((0.0884, 0.0884), rel=0.03)
    assert level(path, 2.5, 3.5) == pytest.approx((0.0625, 0.0625), rel=0.03)


def test_segments_put_together_lose_nothing(
    numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    pieces = [
        numbered(100, "25", "p.ts", f"{X264} -g 50 -c:a aac", first=100 * n) for n in range(3)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    source, path = prepared(joined)  # the stamps begin again with each piece
    assert (source.frame_rate, source.frame_count) == (25, 300)
    assert read_numbers(path) == list(range(300))


@pytest.mark.parametrize(
    ("pids", "more"),
    [
        ((256, 512), ""),
        ((256, 512, 256), ""),
        ((256, 512, 768), ""),
        ((256, 257), ""),  # the first piece's sound has the PID of the second piece's picture
        ((256, 512), "-mpegts_service_id 7 -mpegts_pmt_start_pid 700"),
        ((256, 512), "-mpegts_m2ts_mode 1"),
    ],
)
def test_pieces_with_other_packet_ids_follow_each_other(
    pids: tuple[int, ...],
    more: str,
    make: Make,
    numbered: Numbered,
    prepared: Prepared,
    tmp_path: Path,
) -> None:
    pieces = []
    for number, pid in enumerate(pids):
        picture = numbered(50, "25", "p.mp4", X264, first=50 * number, sound=False)
        clicks = CLICKS.format(seconds=2)
        options = f"-map 0:v -map 1:a -c:v copy -c:a aac -mpegts_start_pid {pid}"
        if number or "m2ts" in more:
            options += f" {more}"
        pieces.append(make(f"-i {picture} {clicks} {options}", f"{number}.ts").read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(pieces))
    source, path = prepared(joined)
    frames = 50 * len(pids)
    assert (source.frame_rate, source.frame_count) == (25, frames)
    assert read_numbers(path) == list(range(frames))
    seconds = range(2 * len(pids))
    assert click_times(path) == pytest.approx([n + 0.1 for n in seconds], abs=0.03)


def test_sound_that_is_added_before_another_leaves_that_one_alone(
    make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    picture = "-f lavfi -i testsrc2=s=160x90:r=25:d=2"
    clicks, silence = CLICKS.format(seconds=2), "-f lavfi -i anullsrc=d=2"
    first = make(f"{picture} {clicks} {X264} -c:a aac -streamid 0:256 -streamid 1:257", "1.ts")
    added = "-map 0:v -map 1:a -map 2:a -streamid 0:256 -streamid 1:261 -streamid 2:257"
    second = make(f"{picture} {silence} {clicks} {added} {X264} -c:a aac", "2.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    source, path = prepared(joined)
    assert source.frame_count == 100
    assert click_times(path) == pytest.approx([n + 0.1 for n in range(4)], abs=0.03)


def test_a_lost_packet_repeats_frames_of_its_group_only(
    numbered: Numbered, prepared: Prepared, tmp_path: Path
) -> None:
    whole = numbered(150, "25", "whole.ts", f"{X264} -g 25 -bf 0 -c:a aac").read_bytes()
    packets = [whole[at : at + 188] for at in range(0, len(whole), 188)]
    # A packet of the picture that begins none of its frames.
    lost = next(
        n
        for n, packet in enumerate(packets)
        if n > len(packets) // 2 and packet[1:3] == b"\x01\x00"
    )
    path = tmp_path / "lost.ts"
    path.write_bytes(b"".join(packets[:lost] + packets[lost + 1 :]))
    source, prepared_path = prepared(path)
    assert source.frame_count == 150
    numbers = read_numbers(prepared_path)
    wrong = [k for k, number in enumerate(numbers) if number != k]
    assert len(numbers) == 150
    assert not wrong or wrong[-1] // 25 == wrong[0] // 25


@pytest.mark.parametrize(
    ("name", "stamps"),
    [
        ("s.mp4", "if(gte(N\\,30)\\,N*512-70\\,N*512)"),
        ("s.mkv", "if(gte(N\\,30)\\,(N-30)*40\\,N*40)"),
        ("s.mkv", "if(gte(N\\,30)\\,N*40+18000000\\,N*40)"),
        ("s.ts", "if(gte(N\\,30)\\,N*3600\\,N*3600+324000000)"),
        ("s.mkv", "if(eq(N\\,30)\\,18000000\\,N*40)"),
    ],
    ids=["back a little", "begin again", "five hours ahead", "an hour back", "one packet astray"],
)
def test_discontinuous_stamps(
    name: str, stamps: str, numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    plain = numbered(60, "25", name, f"{X264} -g 1", sound=False)
    path = make(f"-i {plain} -c copy -bsf:v setts=ts={stamps}", name)
    source, prepared_path = prepared(path)
    assert source.frame_rate == 25
    assert read_numbers(prepared_path) == list(range(60))


def test_sound_stays_with_the_picture_across_a_restart(
    make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    picture = (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=3 {CLICKS.format(seconds=3)} {X264} -g 25 -c:a aac"
    )
    piece = make(picture, "piece.ts").read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(piece * 2)
    source, path = prepared(joined)
    assert source.frame_count == 150
    assert click_times(path) == pytest.approx([n + 0.1 for n in range(6)], abs=0.03)


@pytest.mark.parametrize("pieces", ["-+", "+-+", "--+", "+-", "-+-+"])
def test_sound_that_only_some_pieces_have_is_with_their_picture(
    pieces: str, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    picture = f"-f lavfi -i testsrc2=s=160x90:r=25:d=2 {CLICKS.format(seconds=2)} {X264} -g 25"
    made = {
        "-": make(f"{picture} -an", "silent.ts").read_bytes(),
        "+": make(f"{picture} -c:a aac", "clicks.ts").read_bytes(),
    }
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(made[piece] for piece in pieces))
    source, path = prepared(joined)
    assert source.frame_count == 50 * len(pieces)
    starts = [2 * number for number, piece in enumerate(pieces) if piece == "+"]
    expected = [start + second + 0.1 for start in starts for second in range(2)]
    assert click_times(path) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("sound", ["mp2", "ac3"])
def test_an_open_group_at_the_start_begins_with_the_first_frame_that_decodes(
    sound: str, numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    picture = numbered(150, "25", "p.ts", "-c:v mpeg2video -q:v 2 -bf 2 -g 15", sound=False)
    clicks = CLICKS.format(seconds=6)
    whole = make(f"-i {picture} {clicks} -map 0:v -map 1:a -c:v copy -c:a {sound}", "whole.ts")
    source, path = prepared(make(f"-ss 2 -i {whole} -c copy", "cut.ts"))
    numbers = read_numbers(path)
    assert numbers == list(range(numbers[0], 150))
    assert numbers[0] < 62
    # The origin is where the first frame is, for the sound too.
    cut_s = numbers[0] / 25 - float(source.origin_s)
    moments = [moment + cut_s for moment in click_times(path)]
    assert moments == pytest.approx(
        [second + 0.1 for second in range(6)][-len(moments) :], abs=0.03
    )
    assert len(moments) >= 3


@pytest.mark.parametrize(
    "shift_ms",
    [
        lambda stamp: -1300 if stamp >= 1300 else 0,
        lambda stamp: -60 if stamp >= 1300 else 0,
        lambda stamp: 5 * 3_600_000 if stamp >= 1300 else 0,
    ],
    ids=["begin again", "back by 60 ms", "five hours ahead"],
)
def test_a_flash_recording_whose_clock_changes(
    shift_ms: Callable[[int], int], make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    picture = (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=3 {CLICKS.format(seconds=3)} {X264} -g 25 -bf 0"
    )
    plain = make(f"{picture} -c:a aac -ar 44100", "plain.flv")
    source, path = prepared(
        with_flash_stamps(plain, lambda _, stamp: shift_ms(stamp), tmp_path / "changed.flv")
    )
    assert (source.frame_rate, source.frame_count) == (25, 75)
    # Within one AAC frame, besides what the codec puts before the first.
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1], abs=0.05)


def test_leading_pictures_are_those_that_ffmpeg_shows(
    numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    groups = "radl=2:open-gop=0:keyint=25:min-keyint=25"
    options = f"-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10:{groups}"
    whole = numbered(75, "25", "whole.mp4", options, sound=False)
    cut = make(f"-ss 1 -i {whole} -c copy", "cut.ts")
    decoded = make(f"-i {cut} -fps_mode passthrough {X264}", "decoded.mkv")
    assert read_numbers(prepared(cut)[1]) == read_numbers(decoded)
