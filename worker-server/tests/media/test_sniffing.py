"""Files are known by their first bytes: what is not a video is refused by its kind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import read_numbers, refused
from mp4_testing import box

from worker_server.media import Source, SourceError, probe

Make = Callable[..., Path]
SMALL = "-f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nCANARY\n#EXT-X-ENDLIST\n",
            "an HLS playlist",
        ),
        (b"ffconcat version 1.0\nfile 'CANARY'\n", "an ffconcat list"),
        (b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>", "a DASH manifest"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n", "a session description"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "a picture"),
        (bytes(range(7, 256)) * 20, "random bytes"),
        (b"GGGG" + bytes(2000), "almost a transport stream"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a wave file"),
        (b"\xff\xd8\xff" + bytes(99) + b"\xff\xd9\xff\xd8\xff" + bytes(99), "a phone's photo"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(100), "an AVIF picture"),
        (b"OggX" + bytes(200), "an unknown container"),
        (b"concat:CANARY|CANARY", "a protocol"),
    ],
)
def test_what_is_no_video_is_refused_without_opening_another_file(
    content: bytes, why: str, make: Make, tmp_path: Path
) -> None:
    canary = make(SMALL, "canary.mp4")
    path = tmp_path / "video.mp4"
    path.write_bytes(content.replace(b"CANARY", str(canary).encode()))
    assert refused(path) == "source_not_a_video", why


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b"\xef\xbb\xbf\r\n <HTML lang=en>",
        b'<?xml version="1.0"?>\n<!-- saved -->\n<!doctype html>',
        b"<script>location='/login'</script>",
        b"<br />\n<b>Warning</b>: readfile(): failed to open stream",
        b"<h1>Not Found</h1>",
        b"<!-- " + b"licence " * 1000 + b"-->\n<!-- saved -->\n<html>",
    ],
)
def test_a_web_page_is_named_as_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    assert refused(path) == "source_is_a_web_page"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"#EXTM3U\n#EXTINF:9,\na.ts\n", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\na.ts\n", "playlist"),
        (b'<?xml version="1.0"?>\n<!-- made by x -->\n<MPD xmlns="urn:mpeg:dash"/>', "playlist"),
        (b"[playlist]\nFile1=a.mp4\n", "playlist"),
        (b"PK\x03\x04\x14\0" + bytes(99), "ZIP"),
        (b"Rar!\x1a\x07\x01\0" + bytes(99), "RAR"),
        (b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(99), "7z"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "picture"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "picture"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "picture"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(99), "picture"),
        (b"ID3\x04" + bytes(99), "sound"),
        (b"fLaC" + bytes(99), "sound"),
        (b"\xff\xfb\x90\x64" + bytes(99), "sound"),
        (b"\xff\xf1\x50\x80" + bytes(99), "sound"),
        (b"RIFF\0\0\0\0WAVEfmt " + bytes(99), "sound"),
        (b"%PDF-1.7\n", "PDF"),
        (b'{"error": "expired"}', "JSON"),
    ],
)
def test_what_people_take_for_a_video_is_named(content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        probe(path)
    assert caught.value.code == "source_not_a_video"
    assert named in caught.value.message.partition(".")[0]


@pytest.mark.parametrize(
    "content",
    [
        b"<!---->" * 40 + b"<x>",
        b"<!-- -->\n" * 7000,
        b"<!--" * 16_000,
        b" " * 65_000,
        b"<?xml?>" * 9000,
    ],
    ids=["comments", "many", "unclosed", "spaces", "declarations"],
)
def test_text_is_sniffed_in_linear_time(content: bytes, tmp_path: Path) -> None:
    """The worker itself sniffs text, and its heartbeat stops while a pattern is matched."""
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    code = "import pathlib, sys; from worker_server.media.probing.sniff import sniff"
    judge = [sys.executable, "-c", f"{code}; sniff(pathlib.Path(sys.argv[1]))", str(path)]
    done = subprocess.run(judge, capture_output=True, text=True, timeout=20)
    assert "The file is not a video" in done.stderr


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.mxf", "-c:v mpeg2video"),
        ("s.ivf", "-c:v libvpx -deadline realtime -cpu-used 8"),
        ("s.y4m", "-pix_fmt yuv420p"),
        ("s.nut", "-c:v mpeg4"),
        ("s.h264", "-c:v libx264 -preset ultrafast"),
        ("aud.h264", "-c:v libx264 -preset ultrafast -aud 1"),
        ("sei.h264", "-c:v libx264 -preset ultrafast -flags global_header"),
        ("s.hevc", "-c:v libx265 -preset ultrafast -x265-params log-level=error"),
        ("aud.hevc", "-c:v libx265 -preset ultrafast -x265-params log-level=error:aud=1"),
        ("s.obu", "-c:v libsvtav1 -preset 12"),
        ("s.m2v", "-c:v mpeg2video"),
        ("s.m4v", "-c:v mpeg4 -f m4v"),
        ("units.m4v", "-c:v mpeg4 -f m4v -flags global_header"),
        ("s.dv", "-s 720x576 -pix_fmt yuv420p"),
        ("s.mjpeg", "-c:v mjpeg"),
        ("camera.mp", "-c:v mjpeg -f mpjpeg"),
    ],
)
def test_videos_of_other_formats_are_named_as_such(name: str, options: str, make: Make) -> None:
    path = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=1 {options}", name)
    assert refused(path) == "source_format_unsupported"


@pytest.mark.parametrize("start", [b"DHAV\xfd\0\1\0", b"DAHUA\0\0\0"])
def test_a_recording_of_surveillance_is_named_as_such(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "camera.dav"
    path.write_bytes(start + bytes(4096))
    assert refused(path) == "source_format_unsupported"


FRAGMENTS = "-g 25 -movflags +frag_keyframe+empty_moov+default_base_moof"


@pytest.mark.parametrize("kind", [b"emsg", b"prft", b"ssix", b"junk", b"pict", b"PICT"])
def test_boxes_that_are_seldom_first(
    kind: bytes,
    numbered: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    """Of live streams events, clocks and subsegments; of old QuickTime what is passed over."""
    path = tmp_path / "s.mp4"
    path.write_bytes(box(kind, bytes(40)) + numbered(50, "25", "s.mp4", FRAGMENTS).read_bytes())
    assert read_numbers(prepared(path)[1]) == list(range(50))
