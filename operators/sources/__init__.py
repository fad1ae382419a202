"""Sources of frames: files, cameras, recordings over HTTP, webcams and images behind `open_source`.

Names are imported when they are first used: the options are checked where no video library is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundstream.operators.utils.lazy import lazy_names

if TYPE_CHECKING:
    from groundstream.operators.sources.base import (
        OnStatus,
        Semantics,
        Source,
        SourceCounters,
        SourceInfo,
        SourceStatus,
        State,
    )
    from groundstream.operators.sources.open import open_source
    from groundstream.operators.sources.options import SourceOptions

__all__ = [
    "OnStatus",
    "Semantics",
    "Source",
    "SourceCounters",
    "SourceInfo",
    "SourceOptions",
    "SourceStatus",
    "State",
    "open_source",
]

_HOMES = dict.fromkeys(__all__, ".base") | {"SourceOptions": ".options", "open_source": ".open"}

__getattr__ = lazy_names(__name__, _HOMES)
