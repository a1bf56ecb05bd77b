"""What is accepted, what is refused and why, and the facts found."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media_testing import refused

from worker_server.media import (
    EncodeFailed,
    Preparation,
    ProbeLimits,
    Prober,
    SourceError,
    Stopped,
    probe,
    sniff,
)
from worker_server.media.probing.probe import WarmProber
from worker_server.media.process.child import await_end

Make = Callable[..., Path]
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
SMALL = f"-f lavfi -i testsrc2=s=320x180:r=25:d=2 {X264}"
SOUND = "-f lavfi -i sine=d=2 -c:a aac"
TWO = f"-f lavfi -i testsrc2=s=320x180:r=25:d=2 {SOUND} {X264}"
# The last packet lasts for five hours.
HOURS = "if(gt(N\\,48)\\,18000/TB\\,DURATION)"


def outcome(path: Path) -> str:
    try:
        return f"{probe(path).frame_count} frames"
    except SourceError as error:
        return error.code


@pytest.mark.parametrize(
    "start",
    [
        b"\x00\x00\x00\x18ftypisom",
        b"\x1aE\xdf\xa3",
        b"RIFF\x10\x00\x00\x00AVI LIST",
        b"FLV\x01\x05",
    ],
)
def test_garbage_after_a_valid_signature_is_refused(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(start + b"#EXTM3U\n" * 500)
    assert refused(path) in {"source_damaged", "source_has_no_video"}


@pytest.mark.parametrize("name", ["s.mp4", "s.mov", "s.mkv", "s.avi", "s.ts", "s.flv"])
def test_container_is_detected_by_content(name: str, make: Make, tmp_path: Path) -> None:
    made = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=2 {SOUND} {X264} -ar 44100", name)
    # A name that ffmpeg would take for an option or a protocol, and that hides the content.
    path = tmp_path / "-i concat:%03d|día.txt"
    path.write_bytes(made.read_bytes())
    source = probe(path)
    assert (
        sniff(path)
        == source.demuxer
        == {"mp4": "mov", "mov": "mov", "mkv": "matroska", "ts": "mpegts"}.get(name[2:], name[2:])
    )
    assert (source.frame_rate, source.width, source.height, source.video_codec) == (
        25,
        320,
        180,
        "h264",
    )
    assert (source.has_audio, source.audio_codec) == (True, "aac")
    copied = name[2:] in {"avi", "ts", "flv"}
    assert source.preparation == (Preparation.REMUX if copied else Preparation.NONE)


def test_live_recording_has_no_duration_in_its_header(make: Make) -> None:
    path = make(
        "-f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libvpx -deadline realtime -live 1",
        "live.webm",
    )
    source = probe(path)
    assert (source.frame_count, source.duration_s, source.has_audio) == (50, 2, False)


def test_fragmented_mp4_is_remuxed(make: Make) -> None:
    fragments = probe(make(f"{SMALL} -g 5 -movflags +frag_keyframe+empty_moov", "fragments.mp4"))
    assert fragments.preparation is Preparation.REMUX
    assert probe(make(SMALL, "whole.mp4")).preparation is Preparation.NONE


def test_second_video_stream_is_removed_by_remuxing(make: Make) -> None:
    both = make(
        "-f lavfi -i testsrc2=s=320x180:r=25:d=2"
        f" -f lavfi -i testsrc2=s=640x360:r=30:d=2 {X264} -map 0 -map 1",
        "two.mkv",
    )
    source = probe(both)
    assert (source.width, source.frame_rate, source.video_streams) == (320, 25, 2)
    assert source.preparation is Preparation.REMUX


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_found(degrees: int, make: Make) -> None:
    plain = make(SMALL, "plain.mp4")
    source = probe(make(f"-display_rotation {degrees} -i {plain} -c copy", "rotated.mp4"))
    assert source.rotation == degrees
    assert source.upright_size == ((320, 180) if degrees == 180 else (180, 320))


def test_the_shape_of_pixels_is_found(make: Make) -> None:
    source = probe(make(f"-f lavfi -i testsrc2=s=720x576:r=25:d=1,setsar=64/45 {X264}", "wide.mp4"))
    assert (source.sample_aspect, source.display_width) == (Fraction(64, 45), 1024)


def test_a_nominal_rate_of_ninety_thousand(make: Make) -> None:
    jitter = (
        "-vf settb=1/90000,setpts=N*3000+random(1)*2900"
        " -fps_mode passthrough -enc_time_base 1/90000"
    )
    path = make(
        f"-f lavfi -i testsrc2=s=320x180:r=30:d=2 {X264} {jitter} -video_track_timescale 90000",
        "phone.mp4",
    )
    with av.open(str(path)) as container:
        assert container.streams.video[0].base_rate == 90_000
    source = probe(path)
    assert source.is_vfr
    assert 29 < source.frame_rate < 31
    assert 59 <= source.frame_count <= 61


@pytest.mark.parametrize(
    ("arguments", "name", "code"),
    [
        ("-f lavfi -i sine=d=1 -c:a aac", "sound.mp4", "source_has_no_video"),
        ("-f lavfi -i sine=d=1 -c:a libopus", "sound.webm", "source_has_no_video"),
        ("-f lavfi -i sine=d=1 -c:a libmp3lame", "sound.mp3", "source_not_a_video"),
        (f"-f lavfi -i testsrc2=s=8208x32:r=5:d=1 {X264}", "wide.mp4", "source_frame_too_large"),
        (f"-f lavfi -i testsrc2=s=32x8208:r=5:d=1 {X264}", "tall.mkv", "source_frame_too_large"),
        ("-f lavfi -i color=s=8192x4336:r=5:d=1 -c:v mjpeg", "8k.mov", "source_frame_too_large"),
        (
            f"{SMALL} -vf settb=1/90000,setpts=N*10 -fps_mode passthrough -enc_time_base 1/90000",
            "fast.mp4",
            "source_limits",
        ),
        (f"{SMALL} -vf setpts=N*10000/TB/25 -fps_mode passthrough", "slow.mkv", "source_too_long"),
        (f"-f lavfi -i color=s=16x16:r=5:d=1 {X264} {'-map 0 ' * 33}", "many.mkv", "source_limits"),
        (f"{SMALL} -bsf:v setts=duration={HOURS}", "still.mp4", "source_too_long"),
        (f"{TWO} -bsf:a setts=duration={HOURS}", "held.mp4", "source_too_long"),
    ],
)
def test_unusable_video_is_refused(arguments: str, name: str, code: str, make: Make) -> None:
    assert refused(make(arguments, name)) == code


def test_cover_art_is_no_video(make: Make) -> None:
    picture = make("-f lavfi -i testsrc2=s=320x320:d=1 -frames:v 1", "cover.png")
    cover = f"-f lavfi -i sine=d=1 -i {picture} -map 0 -map 1 -c:v copy -disposition:v attached_pic"
    assert refused(make(f"{cover} -c:a aac", "album.mp4")) == "source_has_no_video"


def test_encrypted_is_refused(make: Make) -> None:
    key = "00112233445566778899aabbccddeeff"
    locked = f"{SMALL} -encryption_scheme cenc-aes-ctr -encryption_key {key} -encryption_kid {key}"
    assert refused(make(locked, "locked.mp4")) == "source_protected"


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", "end.mp4"),
        ("-movflags +faststart", "start.mp4"),
        ("", "s.mkv"),
        ("-c:v mjpeg -q:v 5", "s.avi"),
    ],
)
def test_truncated_file_is_refused(
    share: float, options: str, name: str, make: Make, tmp_path: Path
) -> None:
    whole = make(
        f"-f lavfi -i testsrc2=s=320x180:r=25:d=4 {X264} -g 25 {options}", name
    ).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    # Matroska and AVI that end less than a second early are accepted, with the frames they have.
    accepted = {("s.mkv", 0.95): {"94 frames", "95 frames"}, ("s.avi", 0.95): {"96 frames"}}
    assert outcome(path) in accepted.get((name, share), {"source_damaged"})


def test_noise_instead_of_frames_is_refused(make: Make, tmp_path: Path) -> None:
    content = bytearray(make(SMALL, "plain.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    content[start : content.index(b"moov") - 4] = b"\x5a" * (content.index(b"moov") - 4 - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(content)
    assert refused(path) == "source_damaged"


@pytest.mark.parametrize("size", [0, 1, 7, 2**31, 2**32 - 1])
def test_boxes_of_absurd_size_are_survived(size: int, make: Make, tmp_path: Path) -> None:
    content = bytearray(make(SMALL, "plain.mp4").read_bytes())
    for box in (b"moov", b"stsz", b"stts", b"stco"):
        broken = bytearray(content)
        at = broken.index(box) - 4
        broken[at : at + 4] = struct.pack(">I", size)
        path = tmp_path / "broken.mp4"
        path.write_bytes(broken)
        assert outcome(path) in {
            "50 frames",
            "source_damaged",
            "source_has_no_video",
            "source_not_a_video",
        }


def test_a_deadline_is_kept(make: Make) -> None:
    with pytest.raises(EncodeFailed) as caught:
        probe(make(SMALL, "plain.mp4"), limits=replace(ProbeLimits(), timeout_s=0.001))
    # The machine may be at fault, so the failure is retryable.
    assert (caught.value.code, caught.value.retryable) == ("probe_timeout", True)


@pytest.fixture
def hanging(make: Make, tmp_path: Path) -> Iterator[Path]:
    """A video on a storage that gives its first kilobytes, and then nothing more."""
    path = tmp_path / "hanging.mp4"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, make(SMALL, "plain.mp4").read_bytes()[:5000])
    yield path
    os.close(descriptor)


def test_a_stop_is_noticed_while_the_storage_hangs(hanging: Path) -> None:
    answers = iter((False, False, True))
    with pytest.raises(Stopped):
        probe(hanging, should_stop=lambda: next(answers))


def test_death_of_a_waiting_child_is_retryable(make: Make) -> None:
    with Prober(ProbeLimits()) as prober:
        prober.start().kill()
        with pytest.raises(EncodeFailed) as caught:
            prober.probe(make(SMALL, "plain.mp4"), lambda: False)
    assert (caught.value.code, caught.value.retryable) == ("probe_timeout", True)


def test_unused_child_is_ended() -> None:
    with Prober(ProbeLimits()) as prober:
        process = prober.start()
        assert process.returncode is None
    assert process.returncode is not None


class TestWarmProber:
    """A child that is ready before its source is."""

    @pytest.fixture
    def warm_prober(self) -> Iterator[WarmProber]:
        warm_prober = WarmProber()
        warm_prober.prepare(ProbeLimits())
        yield warm_prober
        warm_prober.close()

    def test_child_probes_one_source(self, warm_prober: WarmProber, make: Make) -> None:
        path = make(SMALL, "plain.mp4")
        waiting = warm_prober.acquire(ProbeLimits())
        with waiting:
            assert waiting.probe(path, lambda: False).frame_count == 50
        with warm_prober.acquire(ProbeLimits()) as another:
            assert another is not waiting
            assert another.probe(path, lambda: False).frame_count == 50

    def test_dead_prober_is_replaced(self, warm_prober: WarmProber, make: Make) -> None:
        assert warm_prober._prober
        process = warm_prober._prober.start()
        process.kill()
        await_end(process, 10)
        with warm_prober.acquire(ProbeLimits()) as prober:
            assert prober.probe(make(SMALL, "plain.mp4"), lambda: False).frame_count == 50

    def test_prober_with_other_limits_is_another_child(
        self, warm_prober: WarmProber, make: Make
    ) -> None:
        with (
            warm_prober.acquire(replace(ProbeLimits(), max_frames=10)) as prober,
            pytest.raises(SourceError),
        ):
            prober.probe(make(SMALL, "plain.mp4"), lambda: False)


def test_memory_is_limited(make: Make) -> None:
    large = "-f lavfi -i color=s=4096x2304:r=25:d=0.2 -c:v ffv1 -pix_fmt yuv444p"
    # Enough to load the libraries (about 120 MB) and to decode small pictures.
    limits = replace(ProbeLimits(), memory_bytes=160_000_000)
    assert probe(make(SMALL, "plain.mp4"), limits=limits).width > 0
    assert refused(make(large, "large.mkv"), limits) == "source_limits"


def test_a_worker_that_only_plans_loads_no_codec() -> None:
    code = (
        "import sys, worker_server.media;"
        " print(sorted(sys.modules.keys() & {'av', 'numpy', 'moviepy', 'PIL'}))"
    )
    completed = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert completed.stdout.strip() == "[]"


def test_facts_are_json(make: Make) -> None:
    source = probe(make(SMALL, "plain.mp4"))
    assert type(source).from_json(json.loads(json.dumps(source.to_json()))) == source
