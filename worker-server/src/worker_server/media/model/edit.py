"""The edit of a part: everything that a renderer needs."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.geometry import frame_size
from worker_server.media.model.json_value import JsonValue
from worker_server.media.model.plan import FrameRange
from worker_server.media.model.source import Source

DEFAULT_LOGO = Path(__file__).parents[1] / "logo.png"
AUDIO_RATE = 48_000


@dataclass(frozen=True)
class Profile(JsonValue):
    """x264's settings.

    `threads` is for decoding, filtering and encoding each; 0 leaves it to ffmpeg.
    """

    preset: str = "ultrafast"
    crf: int = 22
    threads: int = 0


@dataclass(frozen=True)
class PartEdit(JsonValue):
    """The edit of one clip: logo, part, logo."""

    source: Source
    source_path: Path
    part: FrameRange
    width: int
    height: int
    logo_path: Path
    logo_s: float
    profile: Profile

    @classmethod
    def of(
        cls,
        source: Source,
        source_path: Path,
        part: FrameRange,
        *,
        logo_path: Path = DEFAULT_LOGO,
        logo_s: float = 1.0,
        profile: Profile | None = None,
        max_width: int = 1920,
    ) -> Self:
        """Return the edit of a part, in the largest 16:9 size its source and `max_width` allow."""
        width, height = frame_size(source, max_width)
        return cls(
            source, source_path, part, width, height, logo_path, logo_s, profile or Profile()
        )

    @property
    def frame_rate(self) -> Fraction:
        return self.source.frame_rate

    @property
    def last_picture(self) -> int:
        """The index of the source's last picture on the grid; it is held while sound goes on."""
        source = self.source
        return max(0, frame_index(source.last_pts_s - source.origin_s, source.frame_rate))

    @property
    def bumper_frames(self) -> int:
        """Frames of the logo before the part, and again after it."""
        if self.logo_s <= 0:
            return 0
        return max(1, int(Fraction(self.logo_s) * self.frame_rate + Fraction(1, 2)))

    @property
    def total_frames(self) -> int:
        return self.part.frame_count + 2 * self.bumper_frames

    @property
    def duration_s(self) -> Fraction:
        return self.total_frames / self.frame_rate

    @property
    def total_samples(self) -> int:
        """Audio samples of the whole clip, in each channel."""
        return round(self.duration_s * AUDIO_RATE)
