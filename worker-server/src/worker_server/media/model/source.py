"""What is known of a source once all of its packets were seen."""

from dataclasses import dataclass
from fractions import Fraction

from worker_server.media.model.json_value import JsonValue


@dataclass(frozen=True)
class ProbeLimits(JsonValue):
    """How much a source may ask for."""

    max_side: int = 4096
    max_streams: int = 32
    max_duration_s: float = 4 * 3600.0
    max_frames: int = 2_000_000
    max_fps: int = 60  # of the clips; a faster source is thinned out, not refused
    timeout_s: float = 120.0
    memory_bytes: int = 2 * 1024**3


@dataclass(frozen=True)
class Source(JsonValue):
    """The facts of a source, as JSON in the database between the download and the last part.

    Frames live on a constant grid: frame `k` is what is on screen `k / frame_rate` seconds after `origin_s`, in the
    file's own time.
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
    interlaced: bool
    colour_matrix: int  # ISO/IEC 23091-2 code points, as ffmpeg uses them; 2 is "not said"
    colour_primaries: int
    colour_transfer: int
    full_range: bool
    frame_rate: Fraction  # of the clips
    is_vfr: bool
    frame_count: int  # on the grid
    packet_count: int
    origin_s: Fraction
    last_pts_s: Fraction
    reorder_delay_s: (
        Fraction  # at most so long before its time on screen the container lists a frame
    )
    seeks_by_pts: (
        bool  # seeking finds every key frame by its time on screen, and all of them are listed …
    )
    keyframe_reorder_delay_s: Fraction  # … just so long before it
    is_indexed: bool  # the container itself tells where its frames are
    video_streams: int
    has_audio: bool
    audio_index: int
    audio_codec: str

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

    @property
    def _upright(self) -> tuple[Fraction, int]:
        width, height = self.upright_size
        return width * self.upright_aspect, height
