"""Colour tags of the container: `colr` of MP4 and MOV, `Colour` of Matroska.

Decoders of H.264 and VP9 give them to frames where the coded pictures have none. Those of HEVC,
VVC, AV1 and ProRes do not, but players apply them there too.
"""

from dataclasses import dataclass

from av import VideoFrame, VideoStream

_RESERVED, _UNSPECIFIED = 0, 2
FULL_RANGE = 2  # AVCOL_RANGE_JPEG


@dataclass(frozen=True)
class ColourTags:
    """Code points of ISO/IEC 23091-2, and the range as ffmpeg numbers it."""

    primaries: int
    transfer: int
    matrix: int
    colour_range: int

    @classmethod
    def of(cls, video: VideoStream) -> "ColourTags":
        """Return the tags of a stream that has just been opened; decoding replaces them."""
        context = video.codec_context
        return cls(
            int(context.color_primaries),
            int(context.color_trc),
            int(context.colorspace),
            int(context.color_range),
        )

    def complete(self, frame: VideoFrame) -> None:
        """Set the tags that a decoded frame has not.

        The range only where it has no tag at all: decoders of HEVC call that limited too.
        """
        lacks_primaries = int(frame.color_primaries) in (_RESERVED, _UNSPECIFIED)
        lacks_transfer = int(frame.color_trc) in (_RESERVED, _UNSPECIFIED)
        lacks_matrix = int(frame.colorspace) == _UNSPECIFIED
        if lacks_primaries:
            frame.color_primaries = self.primaries
        if lacks_transfer:
            frame.color_trc = self.transfer
        if lacks_matrix:
            frame.colorspace = self.matrix
        if lacks_primaries and lacks_transfer and lacks_matrix and self.colour_range == FULL_RANGE:
            frame.color_range = FULL_RANGE
