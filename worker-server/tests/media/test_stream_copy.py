"""A copied part equals the encoded part frame by frame, and is an ordinary file to players."""

import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import pytest

from worker_server.media import (
    EncodeFailed,
    FrameRange,
    PartEdit,
    PrepareWatch,
    plan_parts,
    prepare,
    probe,
    renderer,
)
from worker_server.media.rendering.copyable_span import find_span
from worker_server.media.rendering.h264 import UnsupportedStream, headers

Make = Callable[..., Path]
may_copy = renderer("copy", "ffmpeg").can_render
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
FRAMES = 150
ALL, FIRST, NONE = "all", "the first", "none"
PICTURE = (
    "-f lavfi -i testsrc2=s={}:r=25:d={},noise=alls=8:allf=t"
    " -pix_fmt yuv420p -c:v libx264 -preset ultrafast"
)
RATE = "-b:v 300k -maxrate 300k -bufsize 300k"
# A kind of source, how it is made, and which of its parts of two seconds can be copied.
SOURCES = {
    "key frames on the cuts": ("25", "s.mp4", "-bf 2 -g 25", ALL),
    "key frames off the cuts": ("25", "s.mp4", "-bf 3 -g 12 -x264-params b-pyramid=normal", ALL),
    "no B-frames": ("25", "s.mp4", "-bf 0 -g 12 -refs 1", ALL),
    "many B-frames": (
        "25",
        "s.mp4",
        "-bf 8 -g 24 -b_strategy 0 -x264-params b-pyramid=strict:ref=4",
        ALL,
    ),
    "sixteen references": ("25", "s.mp4", "-bf 3 -g 24 -refs 16", ALL),
    "long groups": ("25", "s.mp4", "-bf 3 -g 48 -sc_threshold 0", FIRST),
    "one key frame": ("25", "s.mp4", "-bf 3 -g 100000 -sc_threshold 0", FIRST),
    "open groups": ("25", "s.mp4", "-bf 3 -g 12 -x264-params open-gop=1", FIRST),
    "only key frames": ("25", "s.mp4", "-g 1", NONE),
    "main profile": ("25", "s.mp4", "-profile:v main -bf 2 -g 12", ALL),
    "constrained baseline": ("25", "s.mp4", "-profile:v baseline -g 12", ALL),
    "8x8 transforms and weights": ("25", "s.mp4", "-preset medium -weightp 2 -8x8dct 1 -g 12", ALL),
    "slices": ("25", "s.mp4", "-bf 2 -g 12 -x264-params slices=4", ALL),
    "delimiters and a hypothetical decoder": (
        "25",
        "s.mp4",
        "-g 12 -aud 1 -b:v 300k -maxrate 300k -bufsize 300k -x264-params nal-hrd=cbr",
        ALL,
    ),
    "parameter sets of other numbers": ("25", "s.mp4", "-g 12 -x264-params sps-id=1", ALL),
    "24 fps": ("24", "s.mp4", "-bf 2 -g 12", ALL),
    "24 fps in matroska": ("24000/1001", "s.mkv", "-bf 2 -g 12", ALL),
    "ntsc": ("30000/1001", "s.mp4", "-bf 2 -g 15", ALL),
    "thirty": ("30", "s.mov", "-bf 2 -g 20", ALL),
    "fifty": ("50", "s.mp4", "-bf 2 -g 30", ALL),
    "sixty": ("60", "s.mp4", "-bf 2 -g 30", ALL),
    "transport stream": ("25", "s.ts", "-bf 2 -g 12", ALL),
    "an edit list": ("25", "s.mp4", "-bf 2 -g 12 -output_ts_offset 0.5", ALL),
    "no sound": ("25", "s.mp4", "-bf 2 -g 12 -an", ALL),
    "fragments": ("25", "s.mp4", "-bf 2 -g 12 -movflags +frag_keyframe+empty_moov", ALL),
    "flash": ("25", "s.flv", "-bf 2 -g 12", ALL),
}


def parts_of(path: Path, ffmpeg: str, scratch: Path) -> list[PartEdit]:
    """Probe a file, rewrite it if it needs that, and return the edits of its parts."""
    source = probe(path)
    source, path = prepare(source, path, scratch / "prepared.mkv", PrepareWatch(ffmpeg))
    return [PartEdit.of(source, path, part) for part in plan_parts(source, 2)]


def decoder_messages(path: Path, ffmpeg: str) -> str:
    command = [
        ffmpeg,
        "-v",
        "warning",
        "-xerror",
        "-i",
        str(path),
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr + str(done.returncode or "")


def min_ssim(left: Path, right: Path, ffmpeg: str, scratch: Path) -> float:
    """The lowest structural similarity of any frame to its counterpart."""
    log = scratch / "ssim.log"
    filters = f"ssim=stats_file={log}"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", left, "-i", right, "-lavfi", filters, "-f", "null", "-"],
        check=True,
    )
    return min(float(value) for value in re.findall(r"All:([0-9.]+)", log.read_text()))


def sound_of(path: Path) -> list[tuple[int | None, int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(audio=0)]


# The others take minutes.
QUICK = {
    "key frames on the cuts",
    "key frames off the cuts",
    "open groups",
    "ntsc",
    "transport stream",
}
KINDS = [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in SOURCES]


@pytest.mark.parametrize("kind", KINDS)
def test_copied_parts_are_the_encoded_ones(
    kind: str,
    numbered: Make,
    render: Callable[..., Any],
    copy: Callable[..., Any],
    ffmpeg: str,
    tmp_path: Path,
) -> None:
    rate, name, options, wanted = SOURCES[kind]
    copied: dict[int, bool] = {}
    for edit in parts_of(numbered(FRAMES, rate, name, f"{options} {TAGS}"), ffmpeg, tmp_path):
        assert may_copy(edit)
        try:
            clip = copy(edit.source, edit.source_path, edit.part)
        except EncodeFailed as error:
            assert "not copied" in error.stderr_tail  # noqa: PT017 # which of the parts it may be is checked below
            copied[edit.part.number] = False
            continue
        copied[edit.part.number] = True
        assert clip.numbers() == list(range(edit.part.start_frame, edit.part.end_frame))
        assert decoder_messages(clip.path, ffmpeg) == ""
        encoded = render(edit.source, edit.source_path, edit.part)
        assert min_ssim(clip.path, encoded.path, ffmpeg, tmp_path) >= 0.98
        assert sound_of(clip.path) == sound_of(encoded.path)
    assert copied == {
        number: wanted == ALL or (wanted == FIRST and number == 0) for number in copied
    }


@pytest.mark.parametrize(
    "options",
    [
        "-c:v libx265 -x265-params log-level=none",
        "-pix_fmt yuv420p10le",
        "-pix_fmt yuv444p",
        "-flags +ilme+ildct -x264-params tff=1",
        "-vf setsar=2",
        "-s 320x240",
        "-s 322x180",
        "-color_range pc",
        "-colorspace smpte170m",
        "-color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc",
        "-c:v mpeg4",
        "-flags +ilme -x264-params fake-interlaced=1",
    ],
)
def test_what_encoding_would_change_is_not_copied(options: str, make: Make) -> None:
    path = make(f"{PICTURE.format('320x180', 1)} {TAGS} {options}", "s.mp4")
    source = probe(path)
    assert not may_copy(PartEdit.of(source, path, plan_parts(source)[0]))


def test_a_turned_or_uneven_source_is_not_copied(numbered: Make, make: Make) -> None:
    plain = numbered(50, "25", "s.mp4", f"-g 10 {TAGS}")
    turned = make(f"-display_rotation 180 -i {plain} -c copy", "turned.mp4")
    uneven = make(
        f"-i {plain} -c copy -an -bsf:v setts=ts=if(lt(N\\,20)\\,TS*2\\,TS+10240)", "uneven.mp4"
    )
    for path in (turned, uneven):
        source = probe(path)
        assert not may_copy(PartEdit.of(source, path, plan_parts(source)[0]))
    source = probe(plain)
    assert may_copy(PartEdit.of(source, plain, plan_parts(source)[0]))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("-crf 1", "the bit rate is too high"),
        ("-g 100 -sc_threshold 0 -force_key_frames 1.9", "frames can be copied"),
    ],
)
def test_unsuitable_stream_is_detected_while_copying(
    options: str, reason: str, make: Make, copy: Callable[..., Any]
) -> None:
    path = make(f"{PICTURE.format('1280x720', 2)} -bf 2 -g 10 {TAGS} {options}", "s.mp4")
    source = probe(path)
    with pytest.raises(EncodeFailed) as caught:
        copy(source, path, FrameRange(0, 5, 50, source.frame_rate))
    assert reason in caught.value.stderr_tail


def test_damage_is_detected_by_decoding_the_copy(make: Make, copy: Callable[..., Any]) -> None:
    path = make(f"{PICTURE.format('320x180', 2)} -crf 30 -g 10 {TAGS}", "s.mp4")
    damaged = make(f"-i {path} -c copy -bsf:v noise=amount=eq(n\\,25)*1000", "damaged.mp4")
    whole, source = probe(path), probe(damaged)
    assert copy(whole, path, plan_parts(whole)[0]).facts.frames == 100
    with pytest.raises(EncodeFailed) as caught:
        copy(source, damaged, plan_parts(source)[0])
    assert "decoding gives for frame" in caught.value.stderr_tail


def test_times_that_contradict_the_display_order_are_detected(
    numbered: Make, make: Make, copy: Callable[..., Any]
) -> None:
    """The container says that two pictures are shown in the other order than the stream does."""
    path = numbered(50, "25", "s.mp4", f"-bf 0 -g 25 {TAGS}", sound=False)
    swapped = "pts=PTS+512*(eq(N\\,12)-eq(N\\,13)):dts=DTS-2560"
    crossed = make(f"-i {path} -c copy -bsf:v setts={swapped}", "crossed.mp4")
    source = probe(crossed)
    with pytest.raises(EncodeFailed) as caught:
        copy(source, crossed, plan_parts(source)[0])
    assert "decoding gives for frame" in caught.value.stderr_tail


@pytest.mark.parametrize(("start", "end"), [(0, 60), (20, 60), (5, 60), (20, 47), (7, 51)])
def test_without_a_logo_the_source_s_frames_alone_are_there(
    start: int, end: int, numbered: Make, copy: Callable[..., Any]
) -> None:
    path = numbered(60, "25", "s.mp4", f"-profile:v high -8x8dct 1 -bf 2 -g 10 {TAGS}")
    source = probe(path)
    clip = copy(source, path, FrameRange(0, start, end, source.frame_rate), logo_s=0.0)
    assert clip.numbers() == list(range(start, end))


def test_decoding_can_start_at_every_key_frame(numbered: Make, copy: Callable[..., Any]) -> None:
    path = numbered(FRAMES, "25", "s.mp4", f"-bf 3 -g 12 -sc_threshold 0 {TAGS}")
    source = probe(path)
    clip = copy(source, path, plan_parts(source, 5)[0])
    with av.open(str(clip.path)) as container:
        video = container.streams.video[0]
        keys = [packet.pts for packet in container.demux(video) if packet.is_keyframe]
        assert len(keys) > 8
        for pts in keys:
            assert pts is not None
            container.seek(pts, stream=video)
            frame = next(container.decode(video))
            assert frame.pts == pts
            place = round(frame.time * 25) - clip.edit.frames_before
            if 0 <= place < clip.edit.part.frame_count:
                assert clip.number_in(frame) == place


def test_missing_colour_tags_are_added(make: Make, copy: Callable[..., Any]) -> None:
    """Untagged high definition is BT.709; the clip says so in every parameter set."""
    path = make(f"{PICTURE.format('1280x720', 1)} -crf 30 -g 5", "s.mp4")
    source = probe(path)
    clip = copy(source, path, plan_parts(source)[0])
    with av.open(str(clip.path)) as container:
        fields = headers(container.streams.video[0])
        frames = list(container.decode(video=0))
    assert {
        (int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace))
        for frame in frames
    } == {(1, 1, 1)}
    assert fields["matrix_coefficients"] == [1, 1]
    assert len(set(fields["seq_parameter_set_id"])) == 2


class Counted:
    """A file that counts the bytes that are read of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.read_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.read_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("name", ["s.mp4", "s.mkv"])
def test_a_part_without_an_idr_picture_is_not_sought_to_the_end(name: str, make: Make) -> None:
    """In open groups only the first picture is IDR: each part would read all after it."""
    groups = "-preset veryfast -g 25 -sc_threshold 0 -x264-params open-gop=1"
    path = make(f"{PICTURE.format('320x180', 60)} {TAGS} {groups}", name)
    source, file = probe(path), Counted(path)
    edit = PartEdit.of(source, path, plan_parts(source, 5)[1])
    with (
        closing(file),
        av.open(file, "r", format=source.demuxer) as container,
        pytest.raises(UnsupportedStream, match="only 0 of 125 frames"),
    ):
        find_span(container, edit)
    assert file.read_bytes < path.stat().st_size / 3
