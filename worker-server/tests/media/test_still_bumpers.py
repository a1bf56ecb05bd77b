"""In a copied clip a bumper that is a still picture is coded once, and then repeated exactly."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from idrl_testing.numbered import number_in
from worker_server.media import Bumper, FrameRange, Profile, probe
from worker_server.media.model.brand import DEFAULT_LOGO, LOGO_SHARE, Brand
from worker_server.media.rendering.h264 import ParameterSets, headers, kind, units

Make = Callable[..., Path]
Luma = np.ndarray[Any, np.dtype[np.uint8]]
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
LOGO = Bumper(DEFAULT_LOGO, Fraction(1), LOGO_SHARE)
LONG = replace(LOGO, duration_s=Fraction(2))
# Frames wrap frame_num and picture order counts; ultrafast has no B-frames, and order type 2.
FASTER, ULTRAFAST = Profile("faster", 22, 1), Profile("ultrafast", 22, 1)
BOTH, BEFORE, AFTER = Brand(LOGO, LOGO), Brand(LONG, None), Brand(None, LONG)
DIFFERENT = Brand(LOGO, LONG)


@pytest.fixture(scope="module")
def source_path(numbered: Make) -> Path:
    return numbered(60, "25", "s.mp4", f"-profile:v high -8x8dct 1 -bf 2 -g 10 {TAGS}")


def luma_of(path: Path) -> list[Luma]:
    with av.open(str(path)) as container:
        return [
            np.asarray(frame.to_ndarray(format="gray"), np.uint8)
            for frame in container.decode(video=0)
        ]


def coded_bytes(path: Path) -> list[int]:
    """Return the size of each picture in presentation order."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        return [packet.size for packet in sorted(packets, key=lambda packet: packet.pts or 0)]


@pytest.mark.parametrize(
    ("brand", "profile", "start", "end"),
    [
        (BOTH, FASTER, 5, 56),
        (BOTH, ULTRAFAST, 5, 60),
        (BOTH, FASTER, 10, 47),  # no frame before the copied ones
        (BOTH, FASTER, 20, 59),
        (BEFORE, FASTER, 8, 55),
        (BEFORE, ULTRAFAST, 10, 58),
        (AFTER, FASTER, 5, 51),
    ],
)
def test_still_bumper_is_coded_once(
    brand: Brand,
    profile: Profile,
    start: int,
    end: int,
    source_path: Path,
    render: Callable[..., Any],
    copy: Callable[..., Any],
) -> None:
    source = probe(source_path)
    part = FrameRange(0, start, end, source.frame_rate)
    clip = copy(source, source_path, part, brand=brand, profile=profile)
    encoded = render(source, source_path, part, brand=brand, profile=profile)
    assert clip.numbers() == list(range(start, end))
    shown, wanted = luma_of(clip.path), luma_of(encoded.path)
    before, after = clip.edit.frames_before, len(shown) - clip.edit.frames_after
    stills = [*range(before), *range(after, len(shown))]
    assert all(np.array_equal(shown[frame], shown[stills[0]]) for frame in stills)
    # As near to the encoded bumper as that is to itself.
    assert max(np.abs(shown[k].astype(int) - wanted[k]).mean() for k in stills) < 1
    sizes = coded_bytes(clip.path)
    repeated = [frame for frame in stills if frame not in (0, after)]
    assert max(sizes[frame] for frame in repeated) < 24
    assert min(sizes[frame] for frame in {stills[0], after} & set(stills)) > 200


@pytest.mark.parametrize(
    ("brand", "start", "end"),
    [
        (DIFFERENT, 5, 56),
        (BOTH, 9, 56),  # one encoded picture before the copied ones
        (Brand(replace(LOGO, duration_s=Fraction(1, 25)), None), 5, 56),
    ],
)
def test_other_bumpers_are_encoded(
    brand: Brand, start: int, end: int, source_path: Path, copy: Callable[..., Any]
) -> None:
    source = probe(source_path)
    part = FrameRange(0, start, end, source.frame_rate)
    clip = copy(source, source_path, part, brand=brand, profile=FASTER)
    assert clip.numbers() == list(range(start, end))
    with av.open(str(clip.path)) as container:
        assert len(headers(container.streams.video[0])["pic_parameter_set_id"]) == 2


def test_another_decoder_shows_the_same(
    source_path: Path, copy: Callable[..., Any], ffmpeg: str, tmp_path: Path
) -> None:
    """OpenH264 shares no code with libavcodec's decoder."""
    source = probe(source_path)
    part = FrameRange(0, 5, 56, source.frame_rate)
    clip = copy(source, source_path, part, profile=FASTER)
    decoded = tmp_path / "decoded.mkv"
    read = [ffmpeg, "-v", "error", "-xerror", "-c:v", "libopenh264", "-i", str(clip.path)]
    write = ["-map", "0:v", "-fps_mode", "passthrough", "-c:v", "ffv1", str(decoded)]
    subprocess.run([*read, *write], check=True)
    shown, other = luma_of(clip.path), luma_of(decoded)
    assert [number_in(frame) for frame in other[25:-25]] == list(range(5, 56))
    assert all(np.array_equal(left, right) for left, right in zip(shown, other, strict=True))


def test_repeated_pictures_have_their_own_parameter_set(
    source_path: Path, copy: Callable[..., Any]
) -> None:
    source = probe(source_path)
    clip = copy(source, source_path, FrameRange(0, 5, 56, source.frame_rate), profile=FASTER)
    with av.open(str(clip.path)) as container:
        video = container.streams.video[0]
        fields, sets = headers(video), ParameterSets.of(video.codec_context.extradata)
        packets = [bytes(packet) for packet in container.demux(video) if packet.pts is not None]
    assert len(sets.sps) == 2
    assert len(set(fields["pic_parameter_set_id"])) == 3
    assert {kind(unit) for data in packets for unit in units(data, 4)} == {1, 5}
