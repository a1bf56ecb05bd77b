"""Dolby Vision is shown by its base layer, and refused where that has none of the usual colours."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from h264_testing import escaped
from media_testing import read_numbers, refused

from worker_server.media import Source

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

FRAMES = 30
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10:bframes=0:keyint=10"
HLG = ":colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
# The number of the profile in the metadata, and whether the base layer is of full range.
PROFILE_4, PROFILE_5, PROFILE_8 = (0, 0), (0, 1), (1, 0)


def metadata(profile: tuple[int, int]) -> bytes:
    """Return a unit of metadata that maps each value to itself (ETSI GS CCM 001)."""
    number, is_full_range = profile
    header = f"{2:06b}{18:011b}{number:04b}0000100000001100001{is_full_range}0110110010100000100"
    pivots = ("1" + "0" * 10 + "1" * 10) * 3
    lines = ("1101" + "0" * 23 + "010" + "0" * 23) * 3
    bits = f"{header}111{pivots}11{lines}"
    checksum = "1" * 32
    return escaped(b"\x7c\x01\x19", bits + "0" * (-len(bits) % 8) + checksum)


@pytest.fixture(params=["mp4", "mkv", "ts"])
def dolby_vision(
    request: pytest.FixtureRequest, numbered: Make, make: Make, tmp_path: Path
) -> Callable[..., Path]:
    """Make a source of numbered pictures in ten bits, with such a unit in each."""

    def run(profile: tuple[int, int], tags: str = "") -> Path:
        options = f"{X265}:aud=1{tags} -vf format=yuv420p10le -pix_fmt yuv420p10le"
        plain = numbered(FRAMES, "25", "s.hevc", options, sound=False).read_bytes()
        pictures = re.split(rb"(?=\x00\x00\x00\x01\x46\x01)", plain)[1:]
        assert len(pictures) == FRAMES
        stream = tmp_path / "s.hevc"
        stream.write_bytes(b"".join(each + b"\0\0\0\1" + metadata(profile) for each in pictures))
        path = make(f"-framerate 25 -i {stream} -c copy", f"s.{request.param}")
        assert has_metadata(path)
        return path

    return run


def has_metadata(path: Path) -> bool:
    """Return whether ffmpeg can read the metadata of the first picture."""
    with av.open(str(path)) as container:
        return "DOVI_METADATA" in next(container.decode(video=0)).side_data


def test_profile_5_is_refused(dolby_vision: Make) -> None:
    """Its pictures are green and purple to all who do not apply the metadata."""
    assert refused(dolby_vision(PROFILE_5)) == "source_codec_unsupported"


@pytest.mark.parametrize("profile", [PROFILE_4, PROFILE_8])
def test_hlg_below_dolby_vision_is_shown(
    profile: tuple[int, int], dolby_vision: Make, prepared: Prepared
) -> None:
    source, path = prepared(dolby_vision(profile, HLG))
    assert (source.frame_count, source.colour_transfer) == (FRAMES, 18)
    assert read_numbers(path) == list(range(FRAMES))
