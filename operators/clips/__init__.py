"""Clips of events: decided while they happen, gathered on disk, rendered by another process.

`manager` decides which clips there are and follows each as it grows; `job` has its folder on disk and the
thread that fills it; the `renderer` hands the folder to its child, `renderer_main`; there `render` makes of
`pieces` (video) and `timeline` (what was seen) the four files of a clip: annotated, raw, thumbnail, facts.
`spec` says what a clip is to be, and how it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundstream.operators.utils.lazy import lazy_names

if TYPE_CHECKING:
    from groundstream.operators.clips.job import ClipWriter, left_behind
    from groundstream.operators.clips.manager import ClipManager
    from groundstream.operators.clips.render import render_span
    from groundstream.operators.clips.renderer import Renderer
    from groundstream.operators.clips.settings import ClipSettings
    from groundstream.operators.clips.spec import ClipFiles, ClipSpec, Span, clip_name

__all__ = [
    "ClipFiles",
    "ClipManager",
    "ClipSettings",
    "ClipSpec",
    "ClipWriter",
    "Renderer",
    "Span",
    "clip_name",
    "left_behind",
    "render_span",
]

_HOMES = {
    "ClipFiles": ".spec",
    "ClipManager": ".manager",
    "ClipSettings": ".settings",
    "ClipSpec": ".spec",
    "ClipWriter": ".job",
    "Renderer": ".renderer",
    "Span": ".spec",
    "clip_name": ".spec",
    "left_behind": ".job",
    "render_span": ".render",
}

#: Only rendering needs OpenCV, only the manager the records.
__getattr__ = lazy_names(__name__, _HOMES)
