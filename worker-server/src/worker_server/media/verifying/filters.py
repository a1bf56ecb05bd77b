"""Passes single pictures through ffmpeg's filters."""

from collections.abc import Iterable
from fractions import Fraction

from av import VideoFrame
from av.filter import Graph


def filtered(picture: VideoFrame, filters: Iterable[tuple[str, str]]) -> VideoFrame:
    """Return what the filters, each with its arguments, make of the picture."""
    graph = Graph()
    last = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=Fraction(1, 1000),
    )
    for name, arguments in (*filters, ("buffersink", "")):
        added = graph.add(name, arguments or None)
        last.link_to(added)
        last = added
    graph.configure()
    graph.push(picture)
    return graph.vpull()
