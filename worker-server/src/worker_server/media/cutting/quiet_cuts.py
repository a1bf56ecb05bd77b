"""Cuts in the quietest moment of a range of sound."""

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av import AudioFrame, AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from worker_server.media.cutting.progress import ProgressReporter
from worker_server.media.model.containers import seek_sound
from worker_server.media.model.source import Source

_BIN_S = Fraction(1, 50)
# A quiet moment lasts 10 bins, 200 ms: shorter ones occur between syllables, and within the period
# of a low tone.
_MOMENT_BINS = 10
_SEEK_MARGIN_S = Fraction(1, 2)  # pre-roll: a decoder's first samples after a seek may be wrong
# Moments within 1 dB of the quietest one, or below -80 dBFS, count as equally quiet.
_AS_QUIET = 10**0.1
_INAUDIBLE = 1e-8
_MAX_CHANNELS = 64  # those after them do not count

Power = NDArray[np.float64]


class QuietCuts:
    """Finds the middle of the quietest moment in the last quarter of a part."""

    earliest = Fraction(3, 4)

    def __init__(
        self, container: InputContainer, source: Source, progress: ProgressReporter
    ) -> None:
        self._container, self._source, self._progress = container, source, progress
        self._sound = container.streams[source.audio_index]

    def find(self, low: int, high: int) -> int | None:
        """Return the frame of `low` … `high` at the quietest moment; None without sound there."""
        rate = self._source.frame_rate
        power = self._power(low / rate, high / rate)
        if power is None:
            return None
        middle_s = low / rate + quietest(power) * _BIN_S
        return min(high, max(low, round(middle_s * rate)))

    def _power(self, start_s: Fraction, end_s: Fraction) -> Power | None:
        """Return the power of the sound in bins of 20 ms; bins without samples are 0.

        It is the variance, so that inaudible DC offset and rumble do not count.
        """
        size = max(1, math.ceil((end_s - start_s) / _BIN_S))
        counts, squares, sums = np.zeros(size), np.zeros(size), np.zeros((_MAX_CHANNELS, size))
        for at_s, frame in self._frames(start_s, end_s):
            samples = _samples(frame)[:_MAX_CHANNELS]
            offsets_s = float(at_s - start_s) + np.arange(samples.shape[1]) / frame.sample_rate
            bins = np.floor(offsets_s / float(_BIN_S)).astype(np.int64)
            inside = (bins >= 0) & (bins < size)
            counts += np.bincount(bins[inside], minlength=size)
            squares += np.bincount(bins[inside], (samples**2).mean(axis=0)[inside], size)
            for total, channel in zip(sums, samples, strict=False):
                total += np.bincount(bins[inside], channel[inside], size) / len(samples) ** 0.5
        if not counts.any():
            return None
        counts = np.maximum(counts, 1)
        power: Power = np.maximum(squares / counts - ((sums / counts) ** 2).sum(axis=0), 0)
        return power

    def _frames(self, start_s: Fraction, end_s: Fraction) -> Iterator[tuple[Fraction, AudioFrame]]:
        """Yield decoded sound with its times, in seconds from the source's first frame."""
        source, sound = self._source, self._sound
        if not isinstance(sound, AudioStream) or sound.time_base is None:
            return
        seek_s = source.origin_s + start_s - _SEEK_MARGIN_S
        seek_sound(self._container, sound, seek_s, source.video_index)
        for packet in self._container.demux(sound):
            with suppress(av.error.FFmpegError):  # skip damaged packets, decode those after them
                for frame in packet.decode():
                    if not isinstance(frame, AudioFrame) or frame.pts is None:
                        continue
                    at_s = frame.pts * (frame.time_base or sound.time_base) - source.origin_s
                    self._progress.reach(int(at_s * source.frame_rate))
                    if at_s >= end_s:
                        return
                    yield at_s, frame


def quietest(power: Power) -> Fraction:
    """Return the middle of the quietest moment, in bins from the first.

    Moments that are equally quiet and adjacent are one; the longest wins, then the last.
    """
    width = min(_MOMENT_BINS, len(power))
    moments = np.convolve(power, np.ones(width) / width, "valid")
    is_quiet = moments <= max(float(moments.min()) * _AS_QUIET, _INAUDIBLE)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_quiet.astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    longest = int(np.flatnonzero(lengths == lengths.max())[-1])
    return Fraction(int(starts[longest] + ends[longest] - 1) + width, 2)


def _samples(frame: AudioFrame) -> Power:
    """Return the samples as numbers from -1 to 1, a row for each channel."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    numbers: Power = values.astype(np.float64)
    if values.dtype == np.uint8:
        return numbers / 128 - 1
    if values.dtype.kind == "i":
        return numbers / 2.0 ** (8 * values.itemsize - 1)
    return np.nan_to_num(numbers).clip(-1, 1)  # sound in floating point may be anything
