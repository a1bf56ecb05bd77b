"""Side data of frames whose type PyAV does not know, as MV-HEVC's number of a view (29)."""

import av
import pytest
from av.sidedata.sidedata import Type

from worker_server.media.model.side_data import side_data_of


@pytest.mark.parametrize("number", [29, 30, 99])
def test_new_types_of_side_data_do_no_harm(number: int) -> None:
    assert not list(side_data_of(av.VideoFrame(16, 16, "yuv420p")))
    assert Type(number).value == number
    assert Type(number) not in list(Type)
