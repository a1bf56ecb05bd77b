"""Channel layouts that ffmpeg cannot mix to stereo, and which channels to mix instead.

Such are ambisonics, discrete channels, loudspeakers without any in front, and channels in an order
of their own, as MOV may have them (left, centre, right, …).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import av
from av import AudioFrame, AudioResampler, AudioStream
from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout

from worker_server.media.model.containers import may_decode

# ffmpeg's order of channels (enum AVChannel), by name.
_NAMES = "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR"
_ORDER = _NAMES.split()
_RATE = 48_000
_UNNAMED_PAIR = "2 channels"


@dataclass(frozen=True)
class Selection:
    """The channels to take, in this order, and the layout that they then have."""

    channels: tuple[int, ...]
    layout: str


_FIRST, _FIRST_TWO = Selection((0,), "mono"), Selection((0, 1), "stereo")


def selection_of(layout: AudioLayout) -> Selection | None:
    """Return the channels that stand for all; None where ffmpeg can mix them as they are.

    Channel 0 of ambisonics (W) has the sound from all directions. Of discrete channels, the first
    two are where recorders put the stereo mix; any two channels are left and right: ffmpeg takes
    two without names, as PCM has them in AVI and Matroska, for those.
    """
    if layout.nb_channels == 1 or layout.name == _UNNAMED_PAIR:
        return None
    if layout.name.startswith("ambisonic"):
        return _FIRST
    is_pair = layout.nb_channels == 2 and not layout.name.startswith(_UNNAMED_PAIR)
    return None if (is_pair or layout.nb_channels > 2) and _can_mix(layout) else _FIRST_TWO


def replace_own_order(context: AudioCodecContext) -> Selection | None:
    """Return how to put the channels into ffmpeg's order; None where they are in it.

    Call it before anything else reads the layout, or decodes: PyAV would free the memory of such a
    layout twice. The context then has as many channels without an order.
    """
    layout = context.layout
    names = [channel.name for channel in layout.channels]
    known = [_ORDER.index(name) for name in names if name in _ORDER]
    if len(known) < len(names) or known == sorted(set(known)):
        return None
    context.layout = f"{len(names)}C"  # `layout` frees the memory once
    if len(set(known)) < len(names):
        return _FIRST_TWO
    places = sorted(range(len(names)), key=lambda place: known[place])
    return Selection(tuple(places), "+".join(names[place] for place in places))


def right_of(left: AudioStream, sounds: Iterable[AudioStream]) -> AudioStream | None:
    """Return the track with the right channel of a recording whose left one is `left`.

    Cameras and editing programs write them as tracks of one channel each. None where MOV does not
    name both so: tracks of one channel are also languages, or microphones.
    """
    if not _is_alone(left, "FL"):
        return None
    later = (
        each
        for each in sounds
        if each.index > left.index
        and may_decode(each)
        and each.metadata.get("language") == left.metadata.get("language")
    )
    return next((each for each in later if _is_alone(each, "FR")), None)


def _is_alone(sound: AudioStream, channel: str) -> bool:
    # A layout of an order of its own must not be read; see `replace_own_order`.
    is_plain = replace_own_order(sound.codec_context) is None
    return is_plain and [each.name for each in sound.codec_context.layout.channels] == [channel]


def _can_mix(layout: AudioLayout) -> bool:
    """Return whether libswresample mixes the layout to stereo."""
    frame = AudioFrame(format="s16", layout=layout, samples=1)
    frame.sample_rate = _RATE
    try:
        AudioResampler(format="flt", layout="stereo", rate=_RATE).resample(frame)
    except (av.error.FFmpegError, ValueError):
        return False
    return True
