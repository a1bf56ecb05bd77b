"""Compares the level of a clip's sound with its source's, at three places of the part."""

import math
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from operator import mul
from typing import Any

from av import AudioResampler
from av.container import InputContainer

from worker_server.media.model.edit import PartEdit

_SHARES = (Fraction(1, 2), Fraction(1, 4), Fraction(3, 4))
_LONGEST_S = Fraction(1, 2)
_LEAD_S, _GAP_S = Fraction(1, 5), Fraction(1, 50)
# AAC encoders cut off high frequencies: only those below half of this rate are compared.
_RATE = 24_000
# Encoders clip sound that is louder than full scale, and lose its level.
_MAX_BEYOND = 0.01
_QUIET = 1e-4  # mean square, -40 dB: below, codec noise dominates
_SILENT = 1e-8
_MAX_DIFFERENCE_DB = 2.5


def level_difference_db(
    source: InputContainer, clip: InputContainer, edit: PartEdit
) -> float | None:
    """Return by how much the clip is louder than its source throughout; None if it is not.

    More than two channels are mixed, which changes levels: they are not compared.
    """
    if edit.source.audio_channels not in (1, 2):
        return None
    length_s = min(_LONGEST_S, edit.part.frame_count / edit.frame_rate / 4)
    differences = []
    for share in _SHARES:
        at_s = share * edit.part.frame_count / edit.frame_rate
        start_s = edit.source.origin_s + edit.part.start_frame / edit.frame_rate
        source_power = _mean_square(source, edit.source.audio_index, start_s + at_s, length_s)
        if source_power < _QUIET:
            continue
        bumper_s = edit.frames_before / edit.frame_rate
        clip_power = _mean_square(clip, clip.streams.audio[0].index, bumper_s + at_s, length_s)
        difference_db = 10 * math.log10(max(clip_power, _SILENT) / source_power)
        if abs(difference_db) <= _MAX_DIFFERENCE_DB:
            return None
        differences.append(difference_db)
    # A single measurement may fall into a gap of the source's sound.
    return min(differences, key=abs) if len(differences) > 1 else None


def _mean_square(
    container: InputContainer, index: int, start_s: Fraction, length_s: Fraction
) -> float:
    """Return the mean square of all channels' samples in a stretch, up to 12 kHz.

    0 without any, and where sound is louder than full scale.

    The stretch begins and ends on a sample: frames of source and clip have different lengths, and
    with whole frames a beep may be in one stretch and not in the other.
    """
    total, count, beyond = 0.0, 0, 0
    for at_s, samples, channels in _sounds(container, index, start_s, length_s):
        first = max(0, round((start_s - at_s) * _RATE)) * channels
        last = max(0, round((start_s + length_s - at_s) * _RATE)) * channels
        values = samples[first:last]
        total, count = total + sum(map(mul, values, values)), count + len(values)
        beyond += sum(abs(value) > 1 for value in values)
    return total / count if count and beyond <= _MAX_BEYOND * count else 0.0


def _sounds(
    container: InputContainer, index: int, start_s: Fraction, length_s: Fraction
) -> Iterator[tuple[Fraction, "array[float]", int]]:
    """Yield each piece of sound without a gap: its time, samples and number of channels."""
    audio: Any = container.streams[index]
    # The first frame after a seek lacks its overlap with the frame before (MDCT).
    container.seek(int((start_s - _LEAD_S) / audio.time_base), stream=audio)
    piece: list[Any] = []
    for frame in container.decode(audio):
        at_s = frame.pts * frame.time_base
        if at_s >= start_s + length_s:
            break
        if at_s + Fraction(frame.samples, frame.sample_rate) <= start_s:
            continue
        if piece and abs(at_s - _end_s(piece[-1])) > _GAP_S:
            yield _resampled(piece)
            piece = []
        piece.append(frame)
    if piece:
        yield _resampled(piece)


def _end_s(frame: Any) -> Fraction:  # noqa: ANN401 # PyAV's frame
    end: Fraction = frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)
    return end


def _resampled(frames: Sequence[Any]) -> tuple[Fraction, "array[float]", int]:
    """Return the time of the first frame, and the samples of all at `_RATE`."""
    resampler = AudioResampler(format="flt", rate=_RATE)
    samples = array("f")
    channels = frames[0].layout.nb_channels
    for frame in (*frames, None):
        for packed in resampler.resample(frame):
            samples.frombytes(bytes(packed.planes[0])[: 4 * packed.samples * channels])
    return frames[0].pts * frames[0].time_base, samples, channels
