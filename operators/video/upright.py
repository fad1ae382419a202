"""Turns frames upright as their rotation metadata asks, in their own pixel format."""

from __future__ import annotations

import av
from av.filter import Graph

_FILTERS: dict[int, tuple[tuple[str, str | None], ...]] = {
    90: (("transpose", "cclock"),),
    180: (("hflip", None), ("vflip", None)),
    270: (("transpose", "clock"),),
}


class Upright:
    """Applies the rotation that a frame carries (phones, EXIF); frames without one pass untouched."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._key: tuple[int, int, str, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return `frame` upright, with its time stamp; angles between quarter turns are rounded."""
        # FFmpeg gives degrees counter-clockwise, -180..180.
        turn = round(frame.rotation / 90) * 90 % 360
        if turn == 0:
            return frame
        key = (frame.width, frame.height, frame.format.name, turn)
        if self._graph is None or self._key != key:
            self._graph, self._key = _graph_for(frame, turn), key
        self._graph.vpush(frame)
        return self._graph.vpull()


def _graph_for(frame: av.VideoFrame, turn: int) -> Graph:
    graph = Graph()
    node = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    # The rotation is applied here: delete it, or the next reader of the frame applies it again.
    for name, argument in (*_FILTERS[turn], ("sidedata", "delete:type=DISPLAYMATRIX")):
        following = graph.add(name, argument)
        node.link_to(following)
        node = following
    sink = graph.add("buffersink")
    node.link_to(sink)
    graph.configure()
    return graph
