"""Sources of frames: files, cameras, recordings over HTTP, webcams and images behind `open_source`.

Names are imported when they are first used: the options are checked where no video library is wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_MODULES = {"SourceOptions": "options", "open_source": "open"}  # all others: base


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'base')}"), name)
