"""The edit of a part: everything that a renderer needs."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Self

from worker_server.media.model.brand import DEFAULT_LOGO, Brand, Bumper
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.geometry import (
    Aspect,
    Box,
    Fit,
    content_box,
    crop_box,
    frame_size,
)
from worker_server.media.model.json_value import JsonValue
from worker_server.media.model.plan import FrameRange
from worker_server.media.model.source import Source

AUDIO_RATE = 48_000
# Sound that is further from its time stamp than this is moved there; less is rounding or jitter.
MAX_SOUND_DRIFT_S = Fraction(3, 100)
# Extra seconds to seek before a part: in the file, sound may precede the picture of the same time.
SEEK_MARGIN_S = 1


class Quality(StrEnum):
    """How much encoding time is spent on a smaller clip."""

    FAST = "fast"
    BALANCED = "balanced"
    SMALL = "small"


@dataclass(frozen=True)
class Profile(JsonValue):
    """x264's settings.

    `threads` is for decoding, filtering and encoding each; 0 leaves it to ffmpeg. `options` are
    ffmpeg's options of libx264 that differ from the preset's, as its command line has them.
    """

    preset: str = "ultrafast"
    crf: float = 22
    threads: int = 0
    options: str = ""

    @property
    def encoder_arguments(self) -> list[str]:
        """ffmpeg's arguments for preset, CRF and options."""
        return ["-preset", self.preset, "-crf", f"{self.crf:g}", *self.options.split()]


# Chosen by size and VMAF against x264 medium crf 23 (docs/decisions/0053).
PROFILES = {
    Quality.FAST: Profile("veryfast", 19.2),
    Quality.BALANCED: Profile("faster", 22),
    Quality.SMALL: Profile("medium", 22.3, options="-psy 0 -trellis 2 -refs 4"),
}


@dataclass(frozen=True)
class PartEdit(JsonValue):
    """The edit of one clip: a bumper, the part, a bumper."""

    source: Source
    source_path: Path
    part: FrameRange
    width: int
    height: int
    brand: Brand
    profile: Profile
    fit: Fit = Fit.CROP

    @classmethod
    def of(
        cls,
        source: Source,
        source_path: Path,
        part: FrameRange,
        *,
        logo_path: Path = DEFAULT_LOGO,
        logo_s: float = 1.0,
        brand: Brand | None = None,
        profile: Profile | None = None,
        max_width: int = 1920,
        aspect: Aspect = Aspect.WIDE,
        fit: Fit = Fit.CROP,
    ) -> Self:
        """Return the edit of a part, in the largest size its source and `max_width` allow.

        Without a `brand` the logo is shown before and after the part.
        """
        fit = Fit.CROP if aspect is Aspect.SOURCE else fit  # the shape is the source's: no bars
        width, height = frame_size(source, max_width, aspect, fit)
        profile = profile or Profile()
        brand = brand or Brand.of_logo(logo_path, logo_s)
        return cls(source, source_path, part, width, height, brand, profile, fit)

    @property
    def kept(self) -> Box:
        """What is shown of the upright source, in its own pixels."""
        aspect = Fraction(self.width, self.height) if self.fit is Fit.CROP else None
        return crop_box(self.source, aspect)

    @property
    def content(self) -> Box:
        """Where the frame shows the source; around it is background."""
        return content_box(self.source, self.kept, self.width, self.height, self.fit)

    @property
    def fills_frame(self) -> bool:
        return self.content == (self.width, self.height, 0, 0)

    @property
    def frame_rate(self) -> Fraction:
        return self.source.frame_rate

    @property
    def last_picture(self) -> int:
        """The index of the source's last picture on the grid; it is held while sound continues."""
        source = self.source
        return max(0, frame_index(source.last_pts_s - source.origin_s, source.frame_rate))

    @property
    def frames_before(self) -> int:
        """Frames of the bumper before the part."""
        return self._frames_of(self.brand.before)

    @property
    def frames_after(self) -> int:
        """Frames of the bumper after the part."""
        return self._frames_of(self.brand.after)

    def _frames_of(self, bumper: Bumper | None) -> int:
        return bumper.frames(self.frame_rate) if bumper else 0

    @property
    def total_frames(self) -> int:
        return self.frames_before + self.part.frame_count + self.frames_after

    @property
    def duration_s(self) -> Fraction:
        return self.total_frames / self.frame_rate

    @property
    def total_samples(self) -> int:
        """Audio samples of the whole clip, in each channel."""
        return round(self.duration_s * AUDIO_RATE)
