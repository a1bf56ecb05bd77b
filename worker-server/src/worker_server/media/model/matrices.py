"""Display matrices of frames: how a picture is turned and mirrored before it is shown."""

import math
import struct
from typing import Any

from av import VideoFrame

from worker_server.media.model.side_data import side_data_of

Matrix = tuple[int, ...]  # nine numbers, 16.16 and 2.30 fixed point


def rotation_by(matrix: Matrix) -> int:
    """Return by how many degrees a matrix turns anticlockwise: 0, 90, 180 or 270, the nearest."""
    width, height = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not width or not height:
        return 0
    clockwise = math.degrees(math.atan2(matrix[1] / height, matrix[0] / width))
    return round(-clockwise / 90) * 90 % 360


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """Return the display matrix of a frame, or None."""
    data: Any = side_data_of(frame).get("DISPLAYMATRIX")
    return struct.unpack("=9i", bytes(data)[:36]) if data else None
