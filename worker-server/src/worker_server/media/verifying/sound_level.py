"""Compares the level of a clip's sound with its source's, at three places of the part."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from operator import mul
from typing import Any

import av
from av import AudioResampler
from av.container import InputContainer

from worker_server.media.model.containers import seek_sound
from worker_server.media.model.edit import PartEdit

_SHARES = (Fraction(1, 2), Fraction(1, 4), Fraction(3, 4))  # where in the part to measure, in turn
_LONGEST_S = Fraction(1, 2)  # of one measurement
_LEAD_S, _GAP_S = Fraction(1, 5), Fraction(1, 50)  # to seek ahead; a longer gap ends a block
# AAC encoders cut off high frequencies: only those below half of this rate are compared.
_RATE = 24_000
# Encoders clip samples beyond full scale: with more than this share of them the level changes.
_MAX_BEYOND = 0.01
# ffmpeg's AAC encoder lowers a frame with a sample beyond 0.95, so that none is clipped
# (CLIPPING_THRESHOLD in libavcodec/aacenctab.h): noise by up to 6 dB. The limit here is lower, as
# resampling to `_RATE` removes high frequencies and so lowers the peak.
_LOWERED_PEAK = 0.6
_QUIET = 1e-4  # mean square, -40 dB: below, codec noise dominates
_SILENT = 1e-8  # stands for 0, which has no logarithm
_MAX_DIFFERENCE_DB = 2.5
_MAX_LOWERED_DB = 10.0


def level_difference_db(
    source: InputContainer, clip: InputContainer, edit: PartEdit
) -> float | None:
    """Return by how much louder (below 0: quieter) the clip is than its source, else None.

    None if the levels agree at any place measured, or fewer than two places can be measured.
    More than two channels are mixed, which changes levels: they are not compared.
    """
    if edit.source.audio_channels not in (1, 2):
        return None
    own = edit.source.video_index, edit.source.audio_index
    made = clip.streams.video[0].index, clip.streams.audio[0].index
    length_s = min(_LONGEST_S, edit.part.frame_count / edit.frame_rate / 4)
    differences = []
    for share in _SHARES:
        at_s = share * edit.part.frame_count / edit.frame_rate
        start_s = edit.source.origin_s + edit.part.start_frame / edit.frame_rate
        sound = _samples(source, own, start_s + at_s, length_s)
        source_power = _mean_square(sound)
        # Sound in floating point may have infinite samples, and NaN.
        is_measurable = _QUIET <= source_power < math.inf
        if not is_measurable or _is_beyond_full_scale(sound):
            continue
        bumper_s = edit.frames_before / edit.frame_rate
        clip_power = _clip_power(clip, made, bumper_s + at_s, length_s)
        difference_db = 10 * math.log10(max(clip_power, _SILENT) / source_power)
        if -_max_loss_db(sound) <= difference_db <= _MAX_DIFFERENCE_DB:
            return None
        differences.append(difference_db)
    # A single measurement may fall into a gap of the source's sound.
    return min(differences, key=abs) if len(differences) > 1 else None


def _clip_power(
    clip: InputContainer, streams: tuple[int, int], start_s: Fraction, length_s: Fraction
) -> float:
    """Return the mean square of a clip's samples; 0 where they cannot be decoded."""
    try:
        return _mean_square(_samples(clip, streams, start_s, length_s))
    except av.error.FFmpegError:
        return 0.0


def _mean_square(samples: "array[float]") -> float:
    """Return the mean square of the samples; 0 without any."""
    return sum(map(mul, samples, samples)) / len(samples) if samples else 0.0


def _is_beyond_full_scale(samples: "array[float]") -> bool:
    """Return whether enough samples are beyond full scale for clipping to change their level."""
    return sum(abs(sample) > 1 for sample in samples) > _MAX_BEYOND * len(samples)


def _max_loss_db(source_samples: "array[float]") -> float:
    is_lowered = max(map(abs, source_samples)) >= _LOWERED_PEAK
    return _MAX_LOWERED_DB if is_lowered else _MAX_DIFFERENCE_DB


def _samples(
    container: InputContainer, streams: tuple[int, int], start_s: Fraction, length_s: Fraction
) -> "array[float]":
    """Return the samples of all channels in a time range, interleaved, up to 12 kHz.

    `streams` are the indexes of picture and sound. The range begins and ends on a sample: frames
    of source and clip have different lengths, and with whole frames a beep may be in one range and
    not in the other.
    """
    run = array("f")
    for at_s, samples, channels in _sounds(container, streams, start_s, length_s):
        first = max(0, round((start_s - at_s) * _RATE)) * channels
        last = max(0, round((start_s + length_s - at_s) * _RATE)) * channels
        run += samples[first:last]
    return run


def _sounds(
    container: InputContainer, streams: tuple[int, int], start_s: Fraction, length_s: Fraction
) -> Iterator[tuple[Fraction, "array[float]", int]]:
    """Yield each block of sound without a gap: its time, samples and number of channels."""
    video_index, audio_index = streams
    audio: Any = container.streams[audio_index]
    # The first frame after a seek lacks its overlap with the frame before (MDCT).
    seek_sound(container, audio, start_s - _LEAD_S, video_index)
    block: list[Any] = []
    block_s = block_end_s = Fraction()
    for at_s, end_s, frame in _timed(container.decode(audio)):
        if at_s >= start_s + length_s:
            break
        if end_s <= start_s:
            continue
        if block and abs(at_s - block_end_s) > _GAP_S:
            yield block_s, *_resampled(block)
            block = []
        block_s = block_s if block else at_s
        block.append(frame)
        block_end_s = end_s
    if block:
        yield block_s, *_resampled(block)


def _timed(frames: Iterable[Any]) -> Iterator[tuple[Fraction, Fraction, Any]]:
    """Yield start, end and frame; one without a time stamp begins where the one before ended.

    Decoders give none to what they hold back until the end of the file, such as WMA's last frame.
    """
    end_s = None
    for frame in frames:
        at_s = end_s if frame.pts is None else frame.pts * frame.time_base
        if at_s is not None:
            end_s = at_s + Fraction(frame.samples, frame.sample_rate)
            yield at_s, end_s, frame


def _resampled(frames: Sequence[Any]) -> tuple["array[float]", int]:
    """Return the samples of the frames at `_RATE`, and the number of channels."""
    resampler = AudioResampler(format="flt", rate=_RATE)
    samples = array("f")
    channels = frames[0].layout.nb_channels
    for frame in (*frames, None):
        for packed in resampler.resample(frame):
            samples.frombytes(bytes(packed.planes[0])[: 4 * packed.samples * channels])
    return samples, channels
