"""Left and right of one recording, as two tracks of which one may be ahead of the other."""

import numpy as np
import numpy.typing as npt
import pytest

from worker_server.media.probing.normalize_sound import PairedTracks

LEFT, RIGHT = 0, 1
MAX_AHEAD = 100
Samples = npt.NDArray[np.int16]


def stereo(first: int, last: int) -> Samples:
    """Return samples whose values are their places, from 1."""
    return np.repeat(np.arange(first + 1, last + 1, dtype=np.int16)[:, None], 2, axis=1)


class Written:
    """What was written, and the tracks that write it."""

    def __init__(self) -> None:
        self.pieces: list[Samples] = []
        self.tracks = PairedTracks(self.pieces.append, MAX_AHEAD)

    def channels(self) -> tuple[list[int], list[int]]:
        """Return the samples of left and right."""
        joined = np.concatenate(self.pieces)
        return joined[:, LEFT].tolist(), joined[:, RIGHT].tolist()


@pytest.fixture
def written() -> Written:
    return Written()


def test_tracks_that_alternate_are_joined(written: Written) -> None:
    for first in range(0, 500, 50):
        written.tracks.write(LEFT, stereo(first, first + 50))
        written.tracks.write(RIGHT, stereo(first, first + 50))
    written.tracks.flush()
    places = list(range(1, 501))
    assert written.channels() == (places, places)


def test_track_that_ends_early_is_silent_from_there(written: Written) -> None:
    """What waits for it is bounded: hours of sound would not fit into memory."""
    written.tracks.write(RIGHT, stereo(0, 30))
    for first in range(0, 1000, 20):
        written.tracks.write(LEFT, stereo(first, first + 20))
        assert sum(map(len, written.pieces)) >= first + 20 - MAX_AHEAD
    written.tracks.flush()
    left, right = written.channels()
    assert left == list(range(1, 1001))
    assert right == [*range(1, 31), *[0] * 970]


@pytest.mark.parametrize(("ahead", "behind"), [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_track_that_comes_late_keeps_its_time(written: Written, ahead: int, behind: int) -> None:
    written.tracks.write(ahead, stereo(0, 150))  # more than may wait
    for first in range(0, 200, 25):
        written.tracks.write(behind, stereo(first, first + 25))
    written.tracks.write(ahead, stereo(150, 200))
    written.tracks.flush()
    channels = written.channels()
    assert channels[ahead] == list(range(1, 201))
    assert channels[behind] == [*[0] * 150, *range(151, 201)]
