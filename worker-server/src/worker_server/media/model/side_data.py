"""Reads side data of frames, also of types that PyAV does not know."""

from av.frame import Frame
from av.sidedata.sidedata import SideDataContainer, Type


def _new_type(cls: type[Type], value: object) -> Type:
    member: Type = object.__new__(cls)
    member._name_ = f"TYPE_{value}"
    member._value_ = value  # type: ignore[assignment] # ffmpeg's number, which is an int
    return member


# PyAV raises ValueError for all side data of a frame where ffmpeg adds a type that PyAV's list has
# not, as it does for MV-HEVC, the spatial videos of phones. Enum calls `_missing_` for such values.
Type._missing_ = classmethod(_new_type)  # type: ignore[assignment] # with the enum's own type


def side_data_of(frame: Frame) -> SideDataContainer:
    """Return the frame's side data by type.

    `frame.side_data` would keep what it returns in the frame, and that refers to the frame: such a
    cycle stays in memory, with the picture, until the garbage collector has counted 700 of them.
    """
    return SideDataContainer(frame)  # type: ignore[call-arg] # PyAV declares no arguments
