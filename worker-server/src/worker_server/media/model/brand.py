"""A brand: the bumpers before and after the content of a clip, and the watermark over it."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Self

from worker_server.media.model.geometry import Box
from worker_server.media.model.json_value import JsonValue

DEFAULT_LOGO = Path(__file__).parents[1] / "logo.png"
BACKGROUND = "#141414"
# The logo's largest size, as a share of the frame's sides.
LOGO_SHARE = Fraction(2, 5)
# The watermark's distance from the frame's edges, as a share of the shorter side.
_MARGIN = Fraction(1, 40)
# The watermark's largest height, as a share of the frame's.
_MAX_HEIGHT = Fraction(1, 2)


class Place(StrEnum):
    """Where in the frame a watermark is."""

    TOP_LEFT = "top-left"
    TOP = "top"
    TOP_RIGHT = "top-right"
    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom-right"


@dataclass(frozen=True)
class Bumper(JsonValue):
    """A picture or a video before or after the part, on the brand's background.

    The picture is as large as fits into `share` of the frame's sides. A video is an
    MP4 that `normalize` has encoded, with sound.
    """

    path: Path
    duration_s: Fraction
    share: Fraction = Fraction(1)
    is_video: bool = False

    def frames(self, rate: Fraction) -> int:
        """Return how many frames the bumper lasts: at least one, unless it has no duration."""
        if self.duration_s <= 0:
            return 0
        return max(1, int(self.duration_s * rate + Fraction(1, 2)))


@dataclass(frozen=True)
class Watermark(JsonValue):
    """A picture over each frame of the content; `opacity` is from 0 to 1.

    `width` and `height` are the file's, `width_share` is the share of the frame's width to fill.
    """

    path: Path
    width: int
    height: int
    width_share: Fraction
    opacity: Fraction
    place: Place = Place.BOTTOM_RIGHT

    def box(self, frame_w: int, frame_h: int) -> Box:
        """Return the watermark's width, height, left and top in a frame of this size, all even."""
        scale = min(frame_w * self.width_share / self.width, frame_h * _MAX_HEIGHT / self.height)
        width, height = (max(2, round(side * scale / 2) * 2) for side in (self.width, self.height))
        margin = round(min(frame_w, frame_h) * _MARGIN / 2) * 2
        across, down = self._thirds()
        return (
            width,
            height,
            _offset(across, width, frame_w, margin),
            _offset(down, height, frame_h, margin),
        )

    def _thirds(self) -> tuple[int, int]:
        """Return -1, 0 or 1 for left, middle, right, and for top, middle, bottom."""
        name = str(self.place)
        across = ("right" in name) - ("left" in name)
        return across, ("bottom" in name) - ("top" in name)


def _offset(third: int, side: int, frame_side: int, margin: int) -> int:
    free = frame_side - side
    middle = free // 4 * 2
    return (min(margin, middle), middle, max(free - margin, middle) // 2 * 2)[third + 1]


@dataclass(frozen=True)
class Brand(JsonValue):
    """The bumpers and the watermark of a task's clips; `background` is `#rrggbb`."""

    before: Bumper | None = None
    after: Bumper | None = None
    watermark: Watermark | None = None
    background: str = BACKGROUND

    @property
    def background_rgb(self) -> bytes:
        """Red, green and blue of the background, a byte each."""
        return bytes.fromhex(self.background.removeprefix("#"))

    @classmethod
    def of_logo(cls, path: Path, duration_s: float) -> Self:
        """Return the brand that shows the picture before and after each part."""
        logo = Bumper(path, Fraction(duration_s), LOGO_SHARE)
        return cls(logo, logo)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that a renderer reads, each once."""
        used = (self.before, self.after, self.watermark)
        return tuple(dict.fromkeys(each.path for each in used if each is not None))
