"""`groundstream zones`: a picture to read coordinates from, and to check zones on."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from groundstream.operators.clips.spec import shapes_of
from groundstream.operators.errors import ConfigError, OutputError, Reason, SourceError
from groundstream.operators.events.rules import StreamRules
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.urls import mask, stream_id_for
from groundstream.operators.video.annotate import Annotator
from groundstream.pipeline.config.run import load_rules

GRID_PARTS = 10
_LINE_BGR = (255, 255, 255)


def zones_command(source: str, rules_file: Path | None, out: Path | None, at_s: float | None) -> None:
    """Write one picture of `source` with a labelled grid, and with the zones and lines of `rules_file`.

    Raises:
        SourceError: no picture can be had.
        ConfigError: the rules cannot be read.
        OutputError: the picture cannot be written, or is there already.
    """
    rules = load_rules(rules_file) if rules_file else StreamRules()
    path = out or Path(f"{stream_id_for(source)}-zones.png")
    if path.exists() and out is None:
        raise OutputError(f"{path} exists; name another file with --out, which may replace it")
    picture = first_picture(source, at_s)
    draw_grid(picture)
    annotator = Annotator(*picture.shape[:2])
    for shape in shapes_of(rules):
        annotator.outline(picture, shape.name, shape.points, closed=shape.closed)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"{path}: expected a name that ends in .png or .jpg")
    if not path.parent.is_dir() or not cv2.imwrite(str(path), picture):
        raise OutputError(f"cannot write {path}")
    print(path)


def first_picture(source: str, at_s: float | None) -> NDArray[np.uint8]:
    """Return the first picture of `source`, or the one at `at_s` seconds, as (H, W, 3) uint8 BGR.

    Raises:
        SourceError: there is none.
    """
    options = SourceOptions(start_s=at_s, reconnect=False)
    with open_source(source, stream_id_for(source), options) as frames:
        for frame in frames:
            assert frame.picture is not None, "a source hands on a frame without its picture"
            return to_bgr(frame.picture)
    where = f" at {at_s:g} s" if at_s else ""
    raise SourceError(f"{mask(source)}: there is no picture{where}", Reason.ENDED)


def to_bgr(picture: av.VideoFrame) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR that may be drawn on."""
    return np.array(picture.to_ndarray(format="bgr24"), np.uint8)


def draw_grid(picture_bgr: NDArray[np.uint8]) -> None:
    """Draw lines at every tenth of width and height, with their coordinates, in place."""
    height, width = picture_bgr.shape[:2]
    veil = picture_bgr.copy()
    scale = max(0.4, min(height, width) / 1200)
    for number in range(1, GRID_PARTS):
        x, y = round(width * number / GRID_PARTS), round(height * number / GRID_PARTS)
        cv2.line(veil, (x, 0), (x, height - 1), _LINE_BGR, 1)
        cv2.line(veil, (0, y), (width - 1, y), _LINE_BGR, 1)
    cv2.addWeighted(veil, 0.5, picture_bgr, 0.5, 0, dst=picture_bgr)
    for number in range(1, GRID_PARTS):
        x, y = round(width * number / GRID_PARTS), round(height * number / GRID_PARTS)
        text = f"{number / GRID_PARTS:.1f}"
        for thickness, colour in ((3, (0, 0, 0)), (1, _LINE_BGR)):
            for at in ((x + 2, round(14 * scale * 2)), (2, y - 3)):
                cv2.putText(
                    picture_bgr, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
                )
