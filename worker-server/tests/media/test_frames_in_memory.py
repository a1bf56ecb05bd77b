"""Decoded pictures are freed once they are used: a picture of 4K has 12 to 25 MB."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from worker_server.media.model.matrices import display_matrix
from worker_server.media.probing.pictures import shape_of


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("name", ["s.mp4", "s.mkv"])
def test_looking_at_pictures_keeps_none_of_them(name: str, make: Callable[..., Path]) -> None:
    plain = make("-f lavfi -i testsrc2=s=64x64:r=25:d=2 -c:v libx264", "plain.mp4")
    path = make(f"-display_rotation 90 -i {plain} -c copy", name)
    seen = 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            shape_of(frame, None)
            assert display_matrix(frame) is not None
            seen += 1
    del frame
    assert seen == 50
    assert not [each for each in gc.get_objects() if isinstance(each, av.VideoFrame)]
