"""Compares the level of a clip's sound with its source's, at three places of the part."""

import math
from array import array
from fractions import Fraction
from operator import mul
from typing import Any

from av import AudioResampler
from av.container import InputContainer

from worker_server.media.model.edit import PartEdit

_SHARES = (Fraction(1, 2), Fraction(1, 4), Fraction(3, 4))
_LONGEST_S = Fraction(1, 2)
_QUIET = 1e-4  # mean square, -40 dB: quieter sound says nothing
_SILENT = 1e-8
_MAX_DIFFERENCE_DB = 2.5


def level_difference_db(
    source: InputContainer, clip: InputContainer, edit: PartEdit
) -> float | None:
    """Return by how much the clip is louder than its source throughout; None where equal.

    More than two channels are mixed, which changes levels: they are not compared.
    """
    if edit.source.audio_channels not in (1, 2):
        return None
    length_s = min(_LONGEST_S, edit.part.frame_count / edit.frame_rate / 4)
    differences = []
    for share in _SHARES:
        at_s = share * edit.part.frame_count / edit.frame_rate
        start_s = edit.source.origin_s + edit.part.start_frame / edit.frame_rate
        said = _mean_square(source, edit.source.audio_index, start_s + at_s, length_s)
        if said < _QUIET:
            continue
        bumper_s = edit.frames_before / edit.frame_rate
        heard = _mean_square(clip, clip.streams.audio[0].index, bumper_s + at_s, length_s)
        difference_db = 10 * math.log10(max(heard, _SILENT) / said)
        if abs(difference_db) <= _MAX_DIFFERENCE_DB:
            return None
        differences.append(difference_db)
    # One place alone may be a hole in the sound.
    return min(differences, key=abs) if len(differences) > 1 else None


def _mean_square(
    container: InputContainer, index: int, start_s: Fraction, length_s: Fraction
) -> float:
    """Return the mean square of all samples of all channels in a stretch; 0 without any."""
    audio: Any = container.streams[index]
    container.seek(int(start_s / audio.time_base), stream=audio)
    resampler = AudioResampler(format="flt")
    total, count = 0.0, 0
    for frame in container.decode(audio):
        at_s = frame.pts * frame.time_base
        if at_s >= start_s + length_s:
            break
        if at_s < start_s:
            continue
        for packed in resampler.resample(frame):
            values = array(
                "f", bytes(packed.planes[0])[: 4 * packed.samples * packed.layout.nb_channels]
            )
            total, count = total + sum(map(mul, values, values)), count + len(values)
    return total / count if count else 0.0
