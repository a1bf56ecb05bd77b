"""Reads a clip: its headers, its frames and its sound."""

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

# Small enough to hold a minute of frames, large enough to tell a frame from its neighbours.
_WIDTH, _HEIGHT = 160, 90
SOUND_HZ = 8000
# Shorter silences are within one sound.
_PAUSE_SAMPLES = SOUND_HZ // 12


@dataclass(frozen=True)
class Clip:
    """The facts of an MP4, and its content.

    `frames` are grey, `sound` is mono from -1 to 1 at 8 kHz.
    """

    video_codec: str
    profile: str | None
    pix_fmt: str | None
    width: int
    height: int
    sample_aspect: Fraction
    frame_rate: Fraction
    video_s: float
    audio_codec: str
    sample_rate_hz: int
    channels: int
    audio_s: float
    duration_s: float
    is_faststart: bool
    frames: NDArray[np.uint8]
    sound: NDArray[np.float32]


def decode_clip(data: bytes) -> Clip:
    """Decode the whole file; an error of the decoder is raised."""
    with av.open(io.BytesIO(data), "r") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        return Clip(
            video_codec=video.codec_context.name,
            profile=video.profile,
            pix_fmt=video.codec_context.pix_fmt,
            width=video.codec_context.width,
            height=video.codec_context.height,
            sample_aspect=video.sample_aspect_ratio or Fraction(1),
            frame_rate=video.average_rate or Fraction(0),
            video_s=_seconds(video),
            audio_codec=audio.codec_context.name,
            sample_rate_hz=audio.codec_context.sample_rate,
            channels=audio.codec_context.channels,
            audio_s=_seconds(audio),
            duration_s=(container.duration or 0) / av.time_base,
            is_faststart=data.index(b"moov") < data.index(b"mdat"),
            frames=frames_of(data),
            sound=_sound(data),
        )


def frames_of(data: bytes) -> NDArray[np.uint8]:
    """Return every frame of a video, grey and small."""
    with av.open(io.BytesIO(data), "r") as container:
        small = [
            frame.reformat(_WIDTH, _HEIGHT, "gray").to_ndarray()
            for frame in container.decode(video=0)
        ]
    return np.stack(small)


def levels_of(data: bytes, start_s: float, end_s: float) -> list[float]:
    """Return the root mean square of the left and the right channel between two moments."""
    part = _channels(data, "stereo")[:, int(start_s * SOUND_HZ) : int(end_s * SOUND_HZ)]
    return [float(level) for level in np.sqrt((part**2).mean(axis=1))]


def _sound(data: bytes) -> NDArray[np.float32]:
    mono: NDArray[np.float32] = _channels(data, "mono")[0]
    return mono


def _channels(data: bytes, layout: str) -> NDArray[np.float32]:
    resampler = av.AudioResampler("fltp", layout, SOUND_HZ)
    with av.open(io.BytesIO(data), "r") as container:
        pieces = [
            piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)
        ]
    pieces += resampler.resample(None)
    return np.concatenate([piece.to_ndarray() for piece in pieces], axis=1)


def loudness(clip: Clip, start_s: float, end_s: float) -> float:
    """Return the loudest sample between two moments of the clip, 0 to 1."""
    return float(np.abs(clip.sound[int(start_s * SOUND_HZ) : int(end_s * SOUND_HZ)]).max())


def onsets(clip: Clip, threshold: float = 0.2) -> list[float]:
    """Return the moments at which loud sounds begin, in seconds of the clip."""
    loud = np.nonzero(np.abs(clip.sound) > threshold)[0]
    return [
        float(at) / SOUND_HZ
        for at, before in zip(loud, [-SOUND_HZ, *loud], strict=False)
        if at - before > _PAUSE_SAMPLES
    ]


def _seconds(stream: av.stream.Stream) -> float:
    return float((stream.duration or 0) * (stream.time_base or 0))
