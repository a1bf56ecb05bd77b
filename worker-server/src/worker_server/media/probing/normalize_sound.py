"""Puts decoded sound where its stamps say, as stereo of 48 kHz without gaps, and encodes it."""

from collections.abc import Callable
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av import AudioFrame, AudioStream
from av.audio.codeccontext import AudioCodecContext
from av.container import OutputContainer

from worker_server.media.model.downmix import Resampler, mix_levels, stereo_resampler
from worker_server.media.model.edit import AUDIO_RATE, MAX_SOUND_DRIFT_S
from worker_server.media.model.source import Source
from worker_server.media.probing.sound_layouts import Selection, replace_own_order, selection_of

_MAX_DRIFT_SAMPLES = int(AUDIO_RATE * MAX_SOUND_DRIFT_S)
_SILENCE_SAMPLES = AUDIO_RATE
Samples = npt.NDArray[np.int16]


def packet_tag(number: int) -> int:
    """Return a sound packet's `opaque`, which its frames carry, from its number; or the reverse.

    PyAV keeps opaque values by `id()`, and drops a value with the first packet that is freed. Small
    integers are shared objects, so sound must not use the numbers that pictures use.
    """
    return -1 - number


class SoundFile:
    """Encodes stereo of 48 kHz, one piece after the other."""

    def __init__(self, target: OutputContainer, stream: AudioStream) -> None:
        self._target, self._stream = target, stream
        self._written = 0

    def write(self, samples: Samples) -> None:
        """Encode samples of both channels, one row each."""
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="stereo"
        )
        frame.sample_rate = AUDIO_RATE
        frame.pts = self._written
        frame.time_base = self._stream.codec_context.time_base
        self._written += len(samples)
        self._target.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the stream."""
        self._target.mux(self._stream.encode(None))


class PairedTracks:
    """Joins the sound of two tracks, which are left and right of one recording.

    Where one is ahead by more than `max_ahead` samples, as one is that goes on after the other has
    ended, silence is written for the other, whose own samples of that time are dropped.
    """

    def __init__(self, write: Callable[[Samples], None], max_ahead: int = 10 * AUDIO_RATE) -> None:
        self._write_stereo, self._max_ahead = write, max_ahead
        self._waiting = [np.zeros(0, np.int16) for _ in range(2)]  # for the other track
        self._silenced = [0, 0]  # samples that were written as silence and have not come yet

    def write(self, track: int, samples: Samples) -> None:
        """Take the next samples of track 0 (left) or 1 (right), one row each."""
        dropped = min(self._silenced[track], len(samples))
        self._silenced[track] -= dropped
        new = samples[dropped:, 0]
        self._waiting[track] = np.concatenate([self._waiting[track], new])
        self._write_first(min(map(len, self._waiting)))
        if max(map(len, self._waiting)) > self._max_ahead:
            self.flush()

    def flush(self) -> None:
        """Write what the track that is ahead has, with silence for the other."""
        length = max(map(len, self._waiting))
        for track, samples in enumerate(self._waiting):
            missing = length - len(samples)
            self._waiting[track] = np.pad(samples, (0, missing))
            self._silenced[track] += missing
        self._write_first(length)

    def _write_first(self, count: int) -> None:
        if count:
            left, right = (samples[:count] for samples in self._waiting)
            self._write_stereo(np.stack([left, right], axis=1))
            self._waiting = [samples[count:] for samples in self._waiting]


class SoundWriter:
    """Takes sound as it is decoded; level and tones stay the same across format changes."""

    def __init__(
        self, source: Source, write: Callable[[Samples], None], decoder: AudioCodecContext
    ) -> None:
        self._write_stereo = write
        self._own_order = replace_own_order(decoder)
        self._origin_s = source.origin_s
        self._end = round(source.duration_s * AUDIO_RATE)
        self._resampler: Resampler | None = None
        # Rate, layout, format and levels of the mix.
        self._decoded: tuple[int, str, str, str] | None = None
        self._selection: Selection | None = None
        self._written = 0  # samples
        self._position: int | None = None  # sample index at which the next decoded one belongs

    def add(self, frame: AudioFrame, shifts: list[int | None]) -> None:
        """Resample a decoded frame, and write it at its time; `shifts` as in CorrectedTimes."""
        begin = self._begin_sample(frame, shifts)
        decoded = frame.sample_rate, frame.layout.name, frame.format.name, mix_levels(frame)
        if decoded != self._decoded:
            self.resynchronize()
            self._decoded = decoded
            self._selection = self._selection_for(frame)
        if self._selection:
            frame = _with_channels(frame, self._selection)
        if begin is not None and self._has_drifted(begin):
            self._flush()
            self._position = begin
        frame.pts = None
        if self._resampler is None:
            self._resampler = _resampler_of(frame)
        for resampled in self._resampler.resample(frame):
            self._write_samples(resampled)

    def resynchronize(self) -> None:
        """Flush the resampler, and place the next frame exactly at its time."""
        self._flush()
        self._position = None

    def close(self) -> None:
        """Write what the resampler holds; at least one sample."""
        self._flush()
        if not self._written:
            self._write(np.zeros((1, 2), np.int16))

    def _selection_for(self, frame: AudioFrame) -> Selection | None:
        has_no_order = frame.layout.name == f"{frame.layout.nb_channels} channels"
        own = self._own_order if has_no_order else None
        return own or selection_of(frame.layout)

    def _begin_sample(self, frame: AudioFrame, shifts: list[int | None]) -> int | None:
        number = packet_tag(frame.opaque) if isinstance(frame.opaque, int) else len(shifts)
        shift = shifts[number] if number < len(shifts) else 0
        if frame.pts is None or shift is None or frame.time_base is None:
            return None
        return round(((frame.pts + shift) * frame.time_base - self._origin_s) * AUDIO_RATE)

    def _has_drifted(self, begin: int) -> bool:
        return self._position is None or abs(begin - self._position) > _MAX_DRIFT_SAMPLES

    def _flush(self) -> None:
        if self._resampler:
            for resampled in self._resampler.resample(None):
                self._write_samples(resampled)
        self._resampler = None

    def _write_samples(self, frame: AudioFrame) -> None:
        channels = len(frame.layout.channels)
        samples = _as_integers(frame.to_ndarray().reshape(-1, channels))
        if channels == 1:
            samples = np.repeat(samples, 2, axis=1)
        begin = self._position or 0
        self._position = begin + len(samples)
        if begin < self._written:
            samples = samples[self._written - begin :]
            begin = self._written
        while self._written < min(begin, self._end):
            missing = min(begin, self._end) - self._written
            self._write(np.zeros((min(missing, _SILENCE_SAMPLES), 2), np.int16))
        self._write(samples[: max(0, self._end - self._written)])

    def _write(self, samples: Samples) -> None:
        if len(samples):
            self._written += len(samples)
            self._write_stereo(samples)


def _resampler_of(frame: AudioFrame) -> Resampler:
    # Resampling one channel to stereo would make it 3 dB quieter. Its layout may also have no
    # name, as in WMV and AVI, or be that of one loudspeaker, as in MOV.
    if frame.layout.nb_channels == 1:
        return av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE)
    # Mixed into integers, 5.1 would become 7.7 dB quieter than in sources that are not normalized.
    return stereo_resampler(frame, AUDIO_RATE)


def _as_integers(samples: npt.NDArray[Any]) -> Samples:
    numbers = np.nan_to_num(samples * 2**15)  # sound in floating point may be anything
    whole: Samples = np.clip(np.rint(numbers), -(2**15), 2**15 - 1).astype(np.int16)
    return whole


def _with_channels(frame: AudioFrame, selection: Selection) -> AudioFrame:
    """Return the frame with the channels of the selection."""
    count = frame.layout.nb_channels
    samples: Any = frame.to_ndarray()
    planes = samples if frame.format.is_planar else samples.reshape(-1, count).T
    selected = AudioFrame.from_ndarray(
        np.ascontiguousarray(planes[list(selection.channels)]),
        format=frame.format.planar.name,
        layout=selection.layout,
    )
    selected.sample_rate, selected.pts, selected.opaque = frame.sample_rate, frame.pts, frame.opaque
    if frame.time_base is not None:
        selected.time_base = frame.time_base
    return selected
