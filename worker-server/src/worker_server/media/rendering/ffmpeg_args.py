"""The arguments both renderers give ffmpeg: how a file is read, how a clip is written."""

from fractions import Fraction
from pathlib import Path

from worker_server.media.model.codecs import MAX_PIXELS
from worker_server.media.model.edit import AUDIO_RATE, PartEdit
from worker_server.media.model.geometry import Box
from worker_server.media.process.ffmpeg_command import local_input

# Blurred background: downscale factor, and sigma in pixels of the smaller size.
_BLUR_STEP = 16
BLUR_SIGMA = 2
# Larger frames get fewer threads and a shorter lookahead, to bound memory: each thread of a decoder
# or encoder holds one or more frames, and so does the lookahead.
_LARGE_PIXELS = 1920 * 1088
_LARGE_THREADS = 2
_LARGE_LOOKAHEAD = 10  # frames, as preset veryfast has it
_SHORT_LOOKAHEAD_PRESETS = ("ultrafast", "superfast", "veryfast")
ENCODE_SOUND = ["-c:a", "aac", "-b:a", "128k", "-ar", str(AUDIO_RATE), "-ac", "2"]


def source_input(edit: PartEdit, *options: str) -> list[str]:
    """Read the source of an edit."""
    limits = [
        "-max_pixels",
        str(MAX_PIXELS),
        "-threads",
        str(_threads(edit, edit.source.width * edit.source.height)),
    ]
    return local_input(edit.source_path, edit.source.demuxer, *limits, *options)


def background_box(edit: PartEdit) -> Box:
    """Return the middle of the shown picture in the frame's aspect ratio: the part to blur."""
    width, height = edit.content[:2]
    kept_w = min(Fraction(width), Fraction(height * edit.width, edit.height))
    kept_h = min(Fraction(height), Fraction(width * edit.height, edit.width))
    even_w, even_h = max(2, int(kept_w) // 2 * 2), max(2, int(kept_h) // 2 * 2)
    return even_w, even_h, (width - even_w) // 4 * 2, (height - even_h) // 4 * 2


def blurred_size(edit: PartEdit) -> tuple[int, int]:
    """Return the size at which the background is blurred."""
    small_w, small_h = (side // _BLUR_STEP // 2 * 2 for side in (edit.width, edit.height))
    return max(8, small_w), max(8, small_h)


def clip_output(edit: PartEdit, output: Path) -> list[str]:
    """Write the clip: H.264 High and AAC in MP4, with nothing of the source's own metadata."""
    return [*encode_video(edit), *ENCODE_SOUND, *mp4_output(output)]


def encode_video(edit: PartEdit) -> list[str]:
    """Encode as H.264 High."""
    profile = edit.profile
    threads = ["-threads", str(_threads(edit, edit.width * edit.height)), *_lookahead(edit)]
    # x264 writes a lower profile into the stream where a fast preset leaves 8x8 transforms out.
    high = ["-profile:v", "high", "-8x8dct", "1", "-pix_fmt", "yuv420p"]
    encoder = ["-c:v", "libx264", *profile.encoder_arguments]
    return [*encoder, *threads, *high, "-fps_mode", "passthrough"]


def mp4_output(output: Path) -> list[str]:
    """Write an MP4 without metadata, its index in front."""
    container = ["-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart"]
    return [*container, "-fflags", "+bitexact", "-f", "mp4", f"file:{output.absolute()}"]


def _threads(edit: PartEdit, pixels: int) -> int:
    """Return the threads for this frame size: few for large frames, which bounds memory."""
    threads = edit.profile.threads
    return min(threads or _LARGE_THREADS, _LARGE_THREADS) if pixels > _LARGE_PIXELS else threads


def _lookahead(edit: PartEdit) -> list[str]:
    if edit.width * edit.height <= _LARGE_PIXELS or edit.profile.preset in _SHORT_LOOKAHEAD_PRESETS:
        return []
    return ["-rc-lookahead", str(_LARGE_LOOKAHEAD)]
