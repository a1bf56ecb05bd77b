"""Channels in an order that ffmpeg does not mix to stereo: ambisonics, and discrete ones."""

from av.audio.layout import AudioLayout

# Channel counts for which libavutil has a default layout.
_COUNTS_WITH_ORDER = {*range(1, 9), 10, 12, 14, 16, 24}


def channels_to_take(layout: AudioLayout) -> tuple[int, ...]:
    """Return the channels that stand for all; none where ffmpeg can mix them.

    The first of ambisonics is the sound from all directions. Recorders have the mix for left and
    right on the first two of discrete channels.
    """
    count = layout.nb_channels
    if layout.name.startswith("ambisonic"):
        return (0,)
    if layout.name == f"{count} channels" and count not in _COUNTS_WITH_ORDER:
        return (0, 1)
    return ()
