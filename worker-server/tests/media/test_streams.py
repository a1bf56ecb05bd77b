"""Which of a file's streams clips are made of, and how many a file may have."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_testing import read_numbers

from worker_server.media import Source, probe

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
FLAGS = "-disposition:v:0 {} -disposition:v:1 {}"


@pytest.mark.parametrize("name", ["s.mkv", "s.mp4"])
@pytest.mark.parametrize("flags", [("0", "default"), ("default", "0"), ("0", "0")])
def test_film_comes_before_a_still(
    name: str, flags: tuple[str, str], numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    still = numbered(1, "25", "still.mkv", "-c:v mjpeg -q:v 3", sound=False)
    film = numbered(50, "25", "film.mp4", X264, first=100)
    streams = f"-i {still} -i {film} -map 0:v -map 1 -c copy {FLAGS.format(*flags)}"
    source, path = prepared(make(streams, name))
    assert (source.frame_rate, source.frame_count) == (25, 50)
    assert read_numbers(path) == list(range(100, 150))


@pytest.mark.parametrize("kind", ["mp4", "mp4 after its cover", "mkv"])
def test_film_with_a_cover_is_cut_as_it_is(
    kind: str,
    numbered: Numbered,
    make: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
) -> None:
    """Cameras and shops add a cover: films of many gigabytes need no copy for it."""
    cover = numbered(1, "25", "cover.jpg", "-c:v mjpeg -q:v 3 -frames:v 1", sound=False)
    film = numbered(75, "25", "film.mp4", f"{X264} -g 25 -bf 2")
    if kind == "mkv":
        mime = ("-metadata:s:t", "mimetype=image/jpeg")
        path = make(f"-i {film} -attach {cover} -map 0 -c copy", "s.mkv", *mime)
    else:
        index, order = (0, "-map 0:v -map 1") if "after" in kind else (1, "-map 1 -map 0:v")
        flags = f"-disposition:v:{index} attached_pic"
        path = make(f"-i {cover} -i {film} {order} -c copy {flags}", "s.mp4")
    assert probe(path).video_streams == 2
    clips = render_all(path, part_s=1)
    assert {clip.edit.source_path for clip in clips} == {path}
    assert joined_numbers(clips) == list(range(75))


@pytest.mark.parametrize(
    ("sizes", "first"), [(("160x90", "320x180"), 100), (("320x180", "160x90"), 0)]
)
def test_finest_of_several_bit_rates(
    sizes: tuple[str, str], first: int, numbered: Numbered, make: Make, prepared: Prepared
) -> None:
    films = [numbered(25, "25", "film.mp4", X264, first=begin) for begin in (0, 100)]
    inputs = " ".join(f"-i {film}" for film in films)
    scaled = " ".join(f"-s:v:{number} {size}" for number, size in enumerate(sizes))
    rates = make(f"{inputs} -map 0:v -map 1:v -c:v wmv2 -q:v 2 {scaled}", "rates.wmv")
    source, path = prepared(rates)
    assert (source.width, source.height) == (320, 180)
    assert read_numbers(path) == list(range(first, first + 25))


@pytest.mark.parametrize(
    ("flags", "first"), [(("0", "default"), 100), (("default", "0"), 0), (("0", "0"), 0)]
)
@pytest.mark.parametrize("name", ["s.mkv", "s.mp4"])
def test_of_two_films_the_one_flagged_as_default(
    name: str,
    flags: tuple[str, str],
    first: int,
    numbered: Numbered,
    make: Make,
    prepared: Prepared,
) -> None:
    films = [numbered(50, "25", "film.mp4", X264, first=begin) for begin in (0, 100)]
    inputs = " ".join(f"-i {film}" for film in films)
    streams = f"{inputs} -map 0:v -map 1:v -map 0:a -c copy {FLAGS.format(*flags)}"
    _, path = prepared(make(streams, name))
    assert read_numbers(path) == list(range(first, first + 50))


def test_film_with_many_fonts_and_subtitles(
    numbered: Numbered, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    font, words = tmp_path / "font.ttf", tmp_path / "words.srt"
    font.write_bytes(b"\0\1\0\0" + bytes(100))
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    fonts = " ".join(f"-attach {font}" for _ in range(40))
    film = numbered(50, "25", "film.mp4", X264)
    path = make(
        f"-i {film} -i {words} -map 0 {'-map 1 ' * 40} -c copy -c:s srt {fonts}",
        "s.mkv",
        "-metadata:s:t",
        "mimetype=application/x-truetype-font",
    )
    source = probe(path)
    assert (source.frame_count, source.has_audio) == (50, True)
    assert read_numbers(prepared(path)[1]) == list(range(50))


@pytest.mark.parametrize("second", ["ac3", "mp2"])
def test_sound_of_another_codec_that_begins_later(
    second: str, numbered: Numbered, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    pieces = [
        make(f"-i {numbered(50, '25', 's.mp4', X264, first=first)} -c:v copy -c:a {codec}", "s.ts")
        for first, codec in ((0, "aac"), (50, second))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    source, prepared_path = prepared(path)
    assert source.has_audio
    assert read_numbers(prepared_path) == list(range(100))


@pytest.mark.parametrize(
    ("title", "index"),
    [
        ("Comentarios del director", 2),
        ("Kommentar der Regie", 2),
        ("Audiodeskription", 2),
        ("Audiodescripción", 2),
        ("Castellano", 1),
        ("Document", 1),
    ],
)
@pytest.mark.parametrize("name", ["s.mkv", "s.mp4"])
def test_title_of_a_special_track_in_other_languages(
    title: str, index: int, name: str, make: Make
) -> None:
    streams = "-f lavfi -i testsrc2=s=160x90:d=1 -f lavfi -i sine=d=1 -map 0 -map 1 -map 1"
    key = "handler_name" if name == "s.mp4" else "title"
    titled = ("-metadata:s:a:0", f"{key}={title}")
    assert probe(make(f"{streams} {X264} -c:a aac", name, *titled)).audio_index == index


RADIO_FIRST = "-map 1:a -map 0:v -map 0:a"
PICTURE_FIRST = "-map 0:v -map 0:a -map 1:a"


@pytest.mark.parametrize(
    ("order", "programs", "expected"),
    [
        (RADIO_FIRST, ("st=0", "st=1:st=2"), 2),  # as in recordings of a whole multiplex
        (PICTURE_FIRST, ("st=0:st=1", "st=2"), 1),
        (PICTURE_FIRST, ("st=0", "st=1:st=2"), -1),  # a camera without sound
        (RADIO_FIRST, ("st=0:st=1:st=2",), 0),
    ],
)
def test_sound_of_the_picture_s_program(
    order: str, programs: tuple[str, ...], expected: int, numbered: Numbered, make: Make
) -> None:
    film = numbered(50, "25", "film.mp4", X264)
    options = " ".join(f"-program title=any:{streams}" for streams in programs)
    tone = "-f lavfi -i sine=f=300:d=2"
    source = probe(make(f"-i {film} {tone} {order} -c:v copy -c:a mp2 {options}", "mux.ts"))
    assert (source.has_audio, source.audio_index) == (expected >= 0, expected)


@pytest.mark.parametrize("name", ["s.mov", "s.mp4"])
def test_film_that_can_be_decoded_comes_before_one_that_cannot(
    name: str, numbered: Numbered, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """Cameras write a proxy beside pictures that only their own programs decode."""
    films = [numbered(50, "25", "film.mp4", X264, first=begin) for begin in (0, 100)]
    inputs = " ".join(f"-i {film}" for film in films)
    whole = make(f"{inputs} -map 0:v -map 1:v -c copy", name).read_bytes()
    path = tmp_path / name
    first = whole.index(b"avc1", whole.index(b"stsd"))
    path.write_bytes(whole[:first] + b"xraw" + whole[first + 4 :])
    assert read_numbers(prepared(path)[1]) == list(range(100, 150))


@pytest.mark.parametrize(
    ("enabled", "index"),
    [((1, 0, 0), -1), ((1, 0, 1), 2), ((1, 1, 0), 1), ((0, 0, 0), 1), ((0, 0, 1), 2)],
)
def test_tracks_that_are_disabled(
    enabled: tuple[int, ...], index: int, numbered: Numbered, make: Make, tmp_path: Path
) -> None:
    """As players do: a muted track is silent, but where no track is enabled, all are."""
    film, tone = numbered(25, "25", "film.mp4", X264), "-f lavfi -i sine=f=300:d=1"
    streams = f"-i {film} {tone} -map 0:v -map 0:a -map 1:a -c:v copy -c:a aac"
    content = bytearray(make(streams, "s.mp4").read_bytes())
    at = 0
    for flag in enabled:
        at = content.index(b"tkhd", at) + 7  # after the version: three bytes of flags
        content[at] = content[at] & 0xFE | flag
    path = tmp_path / "s.mp4"
    path.write_bytes(content)
    source = probe(path)
    assert (source.has_audio, source.audio_index) == (index >= 0, index)


def with_text_after_the_end(path: Path, to: Path) -> Path:
    """Write an MP4 whose last track, of text, has all of its samples outside of the file."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"stco") + 8
    (count,) = struct.unpack_from(">I", content, at)
    struct.pack_into(f">{count}I", content, at + 4, *[1 << 31] * count)
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("text_end_s", [1, 30])
@pytest.mark.parametrize("options", ["", "-movflags +faststart"])
def test_text_outside_of_the_file_leaves_the_film_alone(
    options: str,
    text_end_s: int,
    numbered: Numbered,
    make: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
    tmp_path: Path,
) -> None:
    words = tmp_path / "words.srt"
    words.write_text(f"1\n00:00:00,500 --> 00:00:{text_end_s:02},000\nHello\n")
    film = numbered(75, "25", "film.mp4", f"{X264} -g 25")
    whole = make(f"-i {film} -i {words} -map 0 -map 1 -c copy -c:s mov_text {options}", "s.mp4")
    path = with_text_after_the_end(whole, tmp_path / "s.mp4")
    assert joined_numbers(render_all(path)) == list(range(75))
