"""The facts of a source, known after all of its packets were read."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from worker_server.media.model.codecs import MAX_PIXELS, MAX_SIDE
from worker_server.media.model.json_value import JsonValue


@dataclass(frozen=True)
class ProbeLimits(JsonValue):
    """Limits of a source."""

    max_side: int = MAX_SIDE
    max_pixels: int = MAX_PIXELS
    max_streams: int = 32
    max_duration_s: float = 4 * 3600.0
    max_frames: int = 2_000_000
    max_fps: int = 60  # limit for clips; of a faster source, frames are dropped
    timeout_s: float = 120.0
    memory_bytes: int = 2 * 1024**3

    def allow_size(self, width: int, height: int) -> bool:
        """Return whether a picture may have this size in pixels."""
        return max(width, height) <= self.max_side and width * height <= self.max_pixels


class Preparation(StrEnum):
    """What must happen to a source before its parts can be cut exactly, or what has happened."""

    NONE = "none"
    REMUX = "remux"  # stream copy into Matroska
    NORMALIZE = "normalize"  # decode once, into one size, one rate, one sound format


@dataclass(frozen=True)
class Source(JsonValue):
    """The facts of a source, as JSON in the database between the download and the last part.

    Frames are on a constant grid: frame `k` is what is shown `k / frame_rate` seconds after
    `origin_s`, in the file's own time.
    """

    demuxer: str
    size_bytes: int
    duration_s: Fraction
    video_index: int
    video_codec: str
    width: int  # coded: before rotation and before the aspect ratio of its pixels
    height: int
    pix_fmt: str
    sample_aspect: Fraction
    rotation: int  # degrees, one of 0, 90, 180, 270
    varies: bool  # the aspect ratio changes; width, height and aspect are the largest picture's
    mirrored: bool  # the display matrix flips the picture, besides rotating it
    interlaced: bool  # some frames are, or may be
    colour_matrix: int  # ISO/IEC 23091-2 code points, as ffmpeg uses them; 2 is "unspecified"
    colour_primaries: int
    colour_transfer: int
    full_range: bool
    frame_rate: Fraction  # frames per second of the clips
    is_vfr: bool
    frame_count: int  # length on the frame grid
    packet_count: int  # of the video stream
    origin_s: Fraction
    last_pts_s: Fraction  # of the last frame shown, in the file's own time
    reorder_delay_s: Fraction  # the largest PTS minus DTS
    seeks_by_pts: bool  # seeking finds every key frame by its PTS
    keyframe_reorder_delay_s: Fraction  # with seeks_by_pts: PTS minus DTS of every key frame
    is_indexed: bool  # the header counts all video packets, as the index of an MP4 does
    video_streams: int
    has_audio: bool
    audio_index: int
    audio_codec: str
    audio_channels: int  # 0 if there is no sound
    preparation: Preparation
    irregular: str  # why it must be normalized (for the log), or empty

    @property
    def display_width(self) -> Fraction:
        """Width in square pixels, upright."""
        return self._upright[0]

    @property
    def display_height(self) -> int:
        """Height in square pixels, upright."""
        return self._upright[1]

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in the source's own pixels, once rotated."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)

    @property
    def upright_aspect(self) -> Fraction:
        """Aspect ratio of one pixel, once rotated."""
        return 1 / self.sample_aspect if self.rotation % 180 else self.sample_aspect

    def seek_s(self, shown_s: Fraction) -> Fraction:
        """Return the time in the file to seek to for what is shown at `shown_s`, in seconds.

        MP4 is sought by DTS, which may be long before the time at which a picture is shown. By the
        time shown, a seek to a leading picture of an open group would end after its key frame.
        """
        return self.origin_s + shown_s - self.reorder_delay_s

    @property
    def _upright(self) -> tuple[Fraction, int]:
        width, height = self.upright_size
        return width * self.upright_aspect, height
