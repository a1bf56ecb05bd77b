"""Channel layouts that ffmpeg cannot mix to stereo: ambisonics, and discrete channels."""

from av.audio.layout import AudioLayout

# Channel counts for which libavutil has a default layout.
_COUNTS_WITH_ORDER = {*range(1, 9), 10, 12, 14, 16, 24}


def channels_to_take(layout: AudioLayout) -> tuple[int, ...]:
    """Return the channels that stand for all; none where ffmpeg can mix them.

    Channel 0 of ambisonics (W) has the sound from all directions. Of discrete channels, the first
    two are where recorders put the stereo mix.
    """
    count = layout.nb_channels
    if layout.name.startswith("ambisonic"):
        return (0,)
    if layout.name == f"{count} channels" and count not in _COUNTS_WITH_ORDER:
        return (0, 1)
    return ()
