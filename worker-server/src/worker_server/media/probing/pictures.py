"""The shape of decoded pictures (size, format, orientation, colours), and a stream's shapes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av import VideoFrame, VideoStream
from av.video.codeccontext import VideoCodecContext

from worker_server.media.model.codecs import CODEC_WHITELIST, MAX_PIXELS
from worker_server.media.model.colour import is_hdr_transfer
from worker_server.media.model.containers import crop_exactly
from worker_server.media.model.geometry import Box
from worker_server.media.model.matrices import Matrix, display_matrix, rotation_by
from worker_server.media.model.source import ProbeLimits
from worker_server.media.probing.colour_tags import FULL_RANGE, ColourTags
from worker_server.media.probing.orientation import orientation_reader
from worker_server.media.probing.streams import check_size


@dataclass(frozen=True)
class PictureShape:
    """What makes ffmpeg rebuild its filters when it changes from one frame to the next."""

    width: int
    height: int
    pix_fmt: str
    sample_aspect: Fraction
    rotation: int
    mirrored: bool
    matrix: int
    full_range: bool
    interlaced: bool = False
    hdr_transfer: int = 0  # 0 for SDR, whose transfer functions are all read alike

    @property
    def pixels(self) -> Fraction:
        """The picture's area in square pixels."""
        return self.width * self.sample_aspect * self.height

    @property
    def aspect(self) -> Fraction:
        """The aspect ratio of what is shown, upright."""
        stored = self.width * self.sample_aspect / self.height
        return 1 / stored if self.rotation % 180 else stored

    def cropped(self, box: Box | None) -> "PictureShape":
        """Return the shape cropped to `box`; unchanged without a box, or where it does not fit."""
        if box is None or box[0] + box[2] > self.width or box[1] + box[3] > self.height:
            return self
        return replace(self, width=box[0], height=box[1])


def shape_of(frame: VideoFrame, sample_aspect: Fraction | None) -> PictureShape:
    """Return the shape of a decoded frame, turned by its own matrix."""
    return shape_by(display_matrix(frame), frame, sample_aspect)


def shape_by(
    matrix: Matrix | None, frame: VideoFrame, sample_aspect: Fraction | None
) -> PictureShape:
    """Return the shape of a decoded frame that this matrix turns."""
    return PictureShape(
        frame.width,
        frame.height,
        frame.format.name,
        sane_aspect(sample_aspect),
        rotation_by(matrix) if matrix else 0,
        matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0 if matrix else False,
        int(frame.colorspace),
        int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj"),
        bool(frame.interlaced_frame),
        int(frame.color_trc) if is_hdr_transfer(int(frame.color_trc)) else 0,
    )


def shapes_of(
    video: VideoStream,
    first: VideoFrame,
    key_frames: Iterable[tuple[bytes, bytes]],
    limits: ProbeLimits,
    tags: ColourTags,
) -> list[PictureShape]:
    """Return the different shapes of a stream, the first frame's first.

    `key_frames` are packets whose headers differ from those before them, and their extradata; each
    is decoded by itself. `tags` are the container's.
    """
    shapes = [shape_of(first, video.sample_aspect_ratio)]
    for data, extradata in key_frames:
        frames = _decode_alone(video, data, extradata)
        if frames is None:
            continue
        frame, aspect = frames
        check_size(frame.width, frame.height, limits)
        tags.complete(frame)
        # The container's rotation applies unless the picture has its own, and its aspect ratio
        # unless the coded one has changed.
        own = aspect != video.codec_context.sample_aspect_ratio
        shape = shape_of(frame, aspect if own else video.sample_aspect_ratio)
        read = orientation_reader(video.codec_context.name, extradata)
        if not read or read(data) is None:
            shape = replace(shape, rotation=shapes[0].rotation, mirrored=shapes[0].mirrored)
        if all(replace(shape, interlaced=each.interlaced) != each for each in shapes):
            shapes.append(shape)
        elif shape.interlaced:
            shapes[0] = replace(shapes[0], interlaced=True)
    return shapes


def _decode_alone(
    video: VideoStream, data: bytes, extradata: bytes
) -> tuple[VideoFrame, Fraction | None] | None:
    context = av.CodecContext.create(video.codec_context.codec.name, "r")
    if not isinstance(context, VideoCodecContext):
        return None
    context.options = {"codec_whitelist": CODEC_WHITELIST, "max_pixels": str(MAX_PIXELS)}
    if extradata:
        context.extradata = extradata
    context.thread_count = 1
    crop_exactly(context)
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.error.FFmpegError:
        return None
    return (frames[0], context.sample_aspect_ratio) if frames else None


def sane_aspect(aspect: Fraction | None) -> Fraction:
    """Return the pixel aspect ratio, 1 where the declared one is impossible."""
    return Fraction(aspect) if aspect and Fraction(1, 8) <= aspect <= 8 else Fraction(1)
