"""Makes small sources of the kinds that recorders, broadcasters and editors write.

Frame k shows the number k, where a source has numbers; clicks sound at 0.1 s, 1.1 s and so on.
"""

import os
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

from idrl_testing import samples
from idrl_testing.numbered import pictures

RATE = 25
WIDTH, HEIGHT = 320, 180
X264 = "-c:v libx264 -preset ultrafast -crf 10 -bf 0 -g 10"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M"
MPEG2 = "-c:v mpeg2video -q:v 2 -bf 2 -g 15"
RADL = "radl=2:open-gop=0:keyint=25:min-keyint=25"
HEVC = f"-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10:{RADL}"
FRAGMENTS = "-movflags +frag_keyframe+empty_moov+default_base_moof"
CLICKS = "aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d={seconds}"
_PACKET_BYTES = 188


class SourceMaker:
    """Makes files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers: Iterator[int] = count()

    def make(self, arguments: str, name: str, stdin: bytes = b"") -> Path:
        """Run ffmpeg; spaces separate its arguments."""
        path = self.folder / f"{next(self._numbers)}-{name}"
        samples.run_ffmpeg(*arguments.split(), path, stdin=stdin)
        return path

    def write(self, content: bytes, name: str) -> Path:
        path = self.folder / f"{next(self._numbers)}-{name}"
        path.write_bytes(content)
        return path

    def numbered(
        self,
        frames: int,
        name: str,
        options: str = X264,
        *,
        first: int = 0,
        size: tuple[int, int] = (WIDTH, HEIGHT),
        clicks: bool = False,
    ) -> Path:
        """Make a source with a number in each frame and, on demand, a click each second."""
        width, height = size
        read = f"-f rawvideo -pix_fmt gray -s {width}x{height} -framerate {RATE} -i pipe:0"
        sound = f"-f lavfi -i {CLICKS.format(seconds=frames / RATE)}" if clicks else ""
        raw = pictures(range(first, first + frames), width, height)
        return self.make(f"{read} {sound} -pix_fmt yuv420p {options}", name, raw)

    def joined(self, name: str, *pieces: Path) -> Path:
        """Join files with ffmpeg's concat demuxer, copying their streams."""
        listing = self.write("".join(f"file '{piece}'\n" for piece in pieces).encode(), "list.txt")
        return self.make(f"-f concat -safe 0 -i {listing} -c copy", name)


Make = Callable[[SourceMaker], Path]


def changing_size(source_maker: SourceMaker) -> Path:
    first = source_maker.numbered(25, "a.webm", VP8)
    return source_maker.joined(
        "s.webm", first, source_maker.numbered(25, "b.webm", VP8, first=25, size=(256, 192))
    )


def changing_sound(source_maker: SourceMaker) -> Path:
    pieces = [
        source_maker.numbered(25, "a.mkv", f"{X264} -c:a ac3 -ac {n}", first=first, clicks=True)
        for n, first in ((6, 0), (2, 25))
    ]
    return source_maker.joined("s.mkv", *pieces)


def edit_list(source_maker: SourceMaker) -> Path:
    """Show frames 13 to 42 of 60, as a trim by QuickTime or Photos is stored."""
    content = bytearray(
        source_maker.numbered(60, "s.mp4", f"{X264} -c:a aac", clicks=True).read_bytes()
    )
    begin_s, length_s = Fraction(13, RATE), Fraction(30, RATE)
    movie_clock = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    at = 0
    while (at := content.find(b"trak", at + 4)) > 0:
        clock = struct.unpack_from(">I", content, content.index(b"mdhd", at) + 16)[0]
        entry = content.index(b"elst", at) + 12
        struct.pack_into(">Ii", content, entry, int(length_s * movie_clock), int(begin_s * clock))
    struct.pack_into(">I", content, content.index(b"mvhd") + 20, int(length_s * movie_clock))
    return source_maker.write(bytes(content), "s.mp4")


def joined_segments(source_maker: SourceMaker) -> Path:
    """Two transport streams, one after the other: the stamps of the second begin again."""
    pieces = [source_maker.numbered(25, "p.ts", f"{X264} -c:a aac", first=n) for n in (0, 25)]
    return source_maker.write(b"".join(piece.read_bytes() for piece in pieces), "s.ts")


def stamps_five_hours_ahead(source_maker: SourceMaker) -> Path:
    plain = source_maker.numbered(50, "p.mkv", "-c:v libx264 -preset ultrafast -crf 10 -g 1")
    return source_maker.make(
        f"-i {plain} -c copy -bsf:v setts=ts=if(gte(N\\,30)\\,N*40+18000000\\,N*40)", "s.mkv"
    )


def one_gap(source_maker: SourceMaker) -> Path:
    """Frames 20 to 44 of 75 are missing, and their place in time is left."""
    whole = source_maker.numbered(75, "p.mkv")
    select = "-vf select=not(between(n\\,20\\,44)) -fps_mode passthrough"
    return source_maker.make(f"-i {whole} {select} {X264}", "s.mkv")


def mirrored(source_maker: SourceMaker) -> Path:
    plain = source_maker.numbered(50, "p.mp4")
    return source_maker.make(f"-display_hflip -i {plain} -c copy", "s.mp4")


def music_over_a_still(source_maker: SourceMaker) -> Path:
    return source_maker.make(
        f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -framerate {RATE} -i pipe:0"
        f" -f lavfi -i {CLICKS.format(seconds=3)} -pix_fmt yuv420p {X264} -c:a aac",
        "s.mp4",
        pictures([5], WIDTH, HEIGHT),
    )


def live_constant_rate(source_maker: SourceMaker) -> Path:
    return source_maker.numbered(
        30, "s.mkv", "-c:v mjpeg -q:v 3 -c:a pcm_s16le -live 1", clicks=True
    )


def late_fragments(source_maker: SourceMaker) -> Path:
    return source_maker.numbered(
        50, "s.mp4", f"{X264} -c:a aac -output_ts_offset 100 {FRAGMENTS}", clicks=True
    )


def sound_that_never_comes(source_maker: SourceMaker) -> Path:
    return source_maker.numbered(50, "s.ts", f"{X264} -c:a aac -bsf:a noise=drop=1", clicks=True)


def open_group(source_maker: SourceMaker) -> Path:
    whole = source_maker.numbered(100, "p.ts", f"{MPEG2} -c:a mp2", clicks=True)
    return source_maker.make(f"-ss 2 -i {whole} -c copy", "s.ts")


def leading_pictures(source_maker: SourceMaker) -> Path:
    whole = source_maker.numbered(75, "p.mp4", HEVC)
    return source_maker.make(f"-ss 1 -i {whole} -c copy", "s.ts")


def mono(source_maker: SourceMaker) -> Path:
    """A sine of amplitude 1/8 in one channel."""
    picture = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r={RATE}:d=2"
    return source_maker.make(f"{picture} -f lavfi -i sine=d=2 {X264} -c:a aac -ac 1", "s.mp4")


def turns_interlaced(source_maker: SourceMaker) -> Path:
    """A bar that moves, first in whole frames, then in fields."""
    bar = "color=black:s=320x192:r=50:d=2,drawbox=x=20:y=0:w=60:h=192:c=white:t=fill,scroll=h=-.02"
    options = f"{MPEG2} -flags +ilme+ildct -pix_fmt yuv420p -an"
    progressive = source_maker.make(
        f"-f lavfi -i {bar},framestep=2,fps=25 -c:v mpeg2video -q:v 2 -g 15", "a.ts"
    )
    fields = source_maker.make(f"-f lavfi -i {bar},tinterlace=interleave_top {options}", "b.ts")
    return source_maker.joined("s.ts", progressive, fields)


def one_damaged_frame(source_maker: SourceMaker) -> Path:
    whole = source_maker.numbered(50, "p.mp4")
    return source_maker.make(f"-i {whole} -c copy -bsf:v noise=amount=eq(n\\,25)*40", "s.mp4")


def encoded_as(name: str, options: str) -> Make:
    return lambda source_maker: source_maker.numbered(
        50, name, options, clicks=not name.endswith("gif")
    )


def within_a_packet(source_maker: SourceMaker) -> Path:
    whole = source_maker.numbered(50, "p.ts", f"{X264} -c:a aac", clicks=True)
    return source_maker.write(os.urandom(77) + whole.read_bytes(), "s.ts")


def one_frame_without_a_duration(source_maker: SourceMaker) -> Path:
    return source_maker.numbered(1, "s.mkv", f"{X264} -bsf:v setts=duration=0")


def several_tracks(source_maker: SourceMaker) -> Path:
    """Three tones: a commentary flagged as default, an audio description, the film's (2 kHz)."""
    picture = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r={RATE}:d=1"
    tones = " ".join(f"-f lavfi -i sine=f={hertz}:d=1" for hertz in (500, 1000, 2000))
    flags = "-disposition:a:0 default+comment -disposition:a:1 visual_impaired -disposition:a:2 0"
    maps = "-map 0 -map 1 -map 2 -map 3"
    return source_maker.make(f"{picture} {tones} {maps} {X264} -c:a flac {flags}", "s.mkv")


def scrambled_after_a_clear_start(source_maker: SourceMaker) -> Path:
    content = bytearray(
        source_maker.numbered(100, "p.ts", f"{X264} -c:a aac", clicks=True).read_bytes()
    )
    for at in range(
        len(content) // 2 // _PACKET_BYTES * _PACKET_BYTES, len(content), _PACKET_BYTES
    ):
        if (content[at + 1] & 0x1F) << 8 | content[at + 2] >= 256:
            content[at + 3] |= 0x80
            content[at + 20 : at + _PACKET_BYTES] = os.urandom(_PACKET_BYTES - 20)
    return source_maker.write(bytes(content), "s.ts")


def unlisted_codec(source_maker: SourceMaker) -> Path:
    """DOSBox's codec has a decoder in ffmpeg that no untrusted file may reach."""
    return source_maker.make("-f lavfi -i testsrc2=s=320x180:r=25:d=1 -c:v zmbv", "s.avi")


def material_exchange(source_maker: SourceMaker) -> Path:
    return source_maker.numbered(25, "s.mxf", MPEG2)
