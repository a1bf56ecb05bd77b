"""What a container shows of its pictures: the clean aperture of MP4, the cropping of Matroska."""

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from av import VideoStream
from av.container import InputContainer

from worker_server.media.model.boxes import Span, boxes, spans_at
from worker_server.media.model.geometry import Box
from worker_server.media.probing.ebml import elements, header_elements

_TRACKS, _TRACK = 0x1654AE6B, 0xAE
_TRACK_TYPE, _VIDEO_TRACK, _VIDEO = 0x83, 1, 0xE0
# PixelCropLeft, -Right, -Top and -Bottom (RFC 9559, 5.1.4.1.28)
_LEFT, _RIGHT, _TOP, _BOTTOM = 0x54CC, 0x54DD, 0x54BB, 0x54AA
_ENTRY_BYTES = 78  # fixed fields of VisualSampleEntry (ISO/IEC 14496-12, 12.1.3)


def shown_box(
    container: InputContainer, path: Path, demuxer: str, video: VideoStream
) -> Box | None:
    """Return the box that the container shows of each picture; None if it is all, or invalid."""
    coded_w, coded_h = video.codec_context.width, video.codec_context.height
    number = [each.index for each in container.streams.video].index(video.index)
    if demuxer == "matroska":
        box = _uncropped(path, number, coded_w, coded_h)
    elif demuxer == "mov":
        box = _clean_aperture(path, video.id, coded_w, coded_h)
    else:
        return None
    width, height, left, top = box
    fits = left >= 0 and top >= 0 and left + width <= coded_w and top + height <= coded_h
    is_whole = (width, height) == (coded_w, coded_h)
    return box if fits and width > 0 and height > 0 and not is_whole else None


def _uncropped(path: Path, number: int, width: int, height: int) -> Box:
    """Return what cropping leaves of the video track of this number."""
    header = header_elements(path, _TRACKS)
    tracks = [dict(elements(content)) for element, content in header if element == _TRACK]
    videos = [each for each in tracks if int.from_bytes(each.get(_TRACK_TYPE, b"")) == _VIDEO_TRACK]
    settings = dict(elements(videos[number].get(_VIDEO, b""))) if number < len(videos) else {}
    left, right, top, bottom = (
        int.from_bytes(settings.get(element, b"")) for element in (_LEFT, _RIGHT, _TOP, _BOTTOM)
    )
    return width - left - right, height - top - bottom, left, top


def _clean_aperture(path: Path, track_id: int, width: int, height: int) -> Box:
    """Return the clean aperture of a track (ISO/IEC 14496-12, 12.1.4)."""
    with path.open("rb") as file:
        for track in spans_at(file, (0, path.stat().st_size), b"moov", b"trak"):
            if _track_id(file, track) == track_id:
                return _aperture(_clap(file, track), width, height)
    return width, height, 0, 0


def _track_id(file: BinaryIO, track: Span) -> int:
    for begin, _ in spans_at(file, track, b"tkhd"):
        file.seek(begin)
        header = file.read(24)
        at = 20 if header[:1] == b"\1" else 12
        return int.from_bytes(header[at : at + 4])
    return 0


def _clap(file: BinaryIO, track: Span) -> bytes:
    """Return the content of the first `clap` in a track's sample entries; empty without any."""
    for begin, end in spans_at(file, track, b"mdia", b"minf", b"stbl", b"stsd"):
        for _, (entry, entry_end) in boxes(file, (begin + 8, end)):
            for at, _ in spans_at(file, (entry + _ENTRY_BYTES, entry_end), b"clap"):
                file.seek(at)
                return file.read(32)
    return b""


def _aperture(data: bytes, width: int, height: int) -> Box:
    """Return the box of a `clap`: width, height and the distance from the centre as fractions."""
    numbers = [
        int.from_bytes(data[at : at + 4], signed=at % 8 == 0) for at in range(0, len(data), 4)
    ]
    if len(numbers) < 8 or not all(numbers[1::2]):
        return width, height, 0, 0
    shown_w, shown_h, right, down = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    left = (width - shown_w) / 2 + right
    top = (height - shown_h) / 2 + down
    return int(shown_w), int(shown_h), round(left), round(top)
