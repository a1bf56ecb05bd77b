"""Videos of a brand: how long they may be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worker_server.media.branding.normalize import BrandFileRefused, normalize_video

Make = Callable[..., Path]
TONE = "-f lavfi -i sine=d=10"
SMALL = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"


@pytest.mark.parametrize(
    ("rate", "frames", "name", "sound"),
    [
        ("30000/1001", 300, "film.mp4", ""),  # 10.01 s
        ("25", 250, "sound.avi", f"{TONE} -c:a libmp3lame"),  # the last packet ends at 10.03 s
        ("25", 250, "sound.mkv", f"{TONE} -c:a ac3"),
    ],
)
def test_ten_seconds_in_whole_frames_and_packets(
    make: Make, ffmpeg: str, tmp_path: Path, rate: str, frames: int, name: str, sound: str
) -> None:
    picture = f"-f lavfi -i testsrc2=s=160x90:r={rate},trim=end_frame={frames}"
    path = make(f"{picture} {sound} {SMALL}", name)
    made = normalize_video(path, tmp_path / "made.mp4", ffmpeg, "#000000")
    assert 10 <= made.duration_s < 10.1


def test_more_than_ten_seconds_are_refused(make: Make, ffmpeg: str, tmp_path: Path) -> None:
    path = make(f"-f lavfi -i testsrc2=s=160x90:r=25:d=10.2 {SMALL}", "long.mp4")
    with pytest.raises(BrandFileRefused) as caught:
        normalize_video(path, tmp_path / "made.mp4", ffmpeg, "#000000")
    assert caught.value.fault == "brand_video_too_long"
