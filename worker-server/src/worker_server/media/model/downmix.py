"""Mixes surround sound into stereo with the levels that the stream gives for that.

AC-3 and E-AC-3 say how loud centre, surround and bass are in stereo. The command ffmpeg follows
them; PyAV's AudioResampler does not.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import av
from av import AudioFrame, AudioResampler
from av.filter import Graph
from av.sidedata.sidedata import Type

from worker_server.media.model.side_data import side_data_of

# AVDownmixInfo (libavutil/downmix_info.h): the preferred type, then as factors centre, centre of
# Lt/Rt, surround, surround of Lt/Rt, bass.
_INFO = struct.Struct("@i5d")
# Of AVDownmixType those for matrix decoders, with the name that swresample has for each.
_MATRIX_ENCODINGS = {2: "dolby", 3: "dplii"}


class Resampler(Protocol):
    """Converts frames of one format; None flushes it."""

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Return the converted frames."""


def mix_levels(frame: AudioFrame) -> str:
    """Return the frame's levels as options of ffmpeg's filter `aresample`; empty without any."""
    # Only more than two channels are mixed.
    info = side_data_of(frame).get(Type.DOWNMIX_INFO) if frame.layout.nb_channels > 2 else None
    if info is None:
        return ""
    preferred, centre, centre_ltrt, surround, surround_ltrt, bass = _INFO.unpack(bytes(info))
    encoding = _MATRIX_ENCODINGS.get(preferred)
    if encoding:
        centre, surround = centre_ltrt, surround_ltrt
    return (
        f"center_mix_level={centre}:surround_mix_level={surround}:lfe_mix_level={bass}"
        f":matrix_encoding={encoding or 'none'}"
    )


def stereo_resampler(frame: AudioFrame, rate: int) -> Resampler:
    """Return a resampler from the frame's format to stereo in floating point, packed."""
    levels = mix_levels(frame)
    if not levels:
        return AudioResampler(format="flt", layout="stereo", rate=rate)
    return _StereoMixer(frame, rate, levels)


class _StereoMixer:
    def __init__(self, frame: AudioFrame, rate: int, levels: str) -> None:
        self._graph = Graph()
        source = self._graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout,
            time_base=frame.time_base or Fraction(1, frame.sample_rate),
        )
        mix = self._graph.add("aresample", f"{rate}:{levels}")
        stereo = self._graph.add("aformat", "sample_fmts=flt:channel_layouts=stereo")
        self._graph.link_nodes(source, mix, stereo, self._graph.add("abuffersink")).configure()

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        self._graph.push(frame)
        return list(self._pulled())

    def _pulled(self) -> Iterator[AudioFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if isinstance(frame, AudioFrame):
                yield frame
