"""Loud music keeps its level: decoders exceed full scale, and players clip there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from media_testing import RATE, decode_sound

SECONDS = 4
X264 = "-f lavfi -i color=s=64x36:r=25:d=4 -c:v libx264 -preset ultrafast"
VP8 = "-f lavfi -i color=s=64x36:r=25:d=4 -c:v libvpx -deadline realtime"
BLOCK = 1024  # samples of an AAC packet
CUTOFF_HZ = 4000  # codecs keep what is below


def music() -> npt.NDArray[np.float64]:
    """Return chords, noise and drums, mastered up to full scale; one row for each sample."""
    random, times = np.random.default_rng(1), np.arange(SECONDS * RATE) / RATE
    channels = []
    for _ in range(2):
        tones = random.uniform(60, 6000, 24)
        chords = sum(np.sin(2 * np.pi * hz * times + hz) * (200 / hz) ** 0.3 for hz in tones)
        drums = 6 * np.sin(2 * np.pi * 70 * times) * (times % 0.5 < 0.06)
        mixed = chords + drums + 0.6 * random.standard_normal(len(times))
        channels.append(mixed / np.std(mixed))
    return np.clip(np.stack(channels, axis=1) * 0.45, -1, 1)


def below_cutoff(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    spectrum = np.fft.rfft(samples)
    spectrum[:, CUTOFF_HZ * samples.shape[1] // RATE :] = 0
    return np.fft.irfft(spectrum, samples.shape[1])


def gains_db(made: Path, played: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return by how much each block of both channels is louder than what was played."""
    clip = decode_sound(made)
    count = min(clip.shape[1], played.shape[1]) // BLOCK
    first, second = (
        below_cutoff(each[:, : count * BLOCK]).reshape(2, count, BLOCK) for each in (played, clip)
    )
    common, power = (first * second).sum(axis=2), (first * first).sum(axis=2)
    gains: npt.NDArray[Any] = 20 * np.log10(np.abs(common / power))[:, 8:-8]
    return gains


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("s.mkv", f"{X264} -c:a libmp3lame -b:a 128k"),
        ("s.mp4", f"{X264} -c:a aac -b:a 128k"),
        ("s.webm", f"{VP8} -c:a libopus -b:a 96k"),
        ("normalized.ogv", f"{VP8} -c:a libopus -b:a 96k"),
    ],
)
def test_level_is_the_same_from_packet_to_packet(
    name: str,
    codecs: str,
    make: Callable[..., Path],
    render_all: Callable[..., list[Any]],
) -> None:
    samples = (music() * 32767).astype("<i2").tobytes()
    path = make(f"-f s16le -ar {RATE} -ch_layout stereo -i pipe:0 {codecs}", name, stdin=samples)
    decoded = decode_sound(path)
    assert np.abs(decoded).max() > 1.15
    (clip,) = render_all(path, part_s=SECONDS, logo_s=0)
    gains = gains_db(clip.path, np.clip(decoded, -1, 1))
    # A full scale of 0.95 and the codec's noise remain.
    assert gains.std() < 0.4
    assert gains.min() > -2
