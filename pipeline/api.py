"""Python's door to the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from groundstream.operators.frames import FrameResult
from groundstream.pipeline.config.run import DEFAULT_MODEL, make_config
from groundstream.pipeline.pipeline import Pipeline


def open_pipeline(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
    phrases: Iterable[str],
    *,
    model: str | Mapping[str, Any] = DEFAULT_MODEL,
    out: str | PathLike[str] | None = None,
    **settings: Any,
) -> Pipeline:
    """Open a pipeline over one or several sources.

    Args:
        sources: files, folders of images, URLs or webcams (`webcam:0`).
        phrases: what to look for, each in your own words.
        model: a model's name or folder, as `groundstream models` lists them, or all its keys as in YAML.
        out: folder for records and annotated video; nothing is written when None.
        settings: further keys of the configuration (`track`, `text_cache`, ...), as in YAML.

    Raises:
        GroundstreamError: a source, output, option or model is not as it should be.
    """
    several = [sources] if isinstance(sources, str | PathLike) else list(sources)
    values: dict[str, Any] = {
        "streams": [{"source": str(source)} for source in several],
        "phrases": (phrases,) if isinstance(phrases, str) else tuple(phrases),
        "model": {"name": model} if isinstance(model, str) else model,
    }
    if out is not None:
        values["output"] = {"dir": Path(out)}
    return Pipeline(make_config(values | settings))


def run(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]], phrases: Iterable[str], **settings: Any
) -> Iterator[FrameResult]:
    """Yield a `FrameResult` for every frame, as it comes; see `open_pipeline` for the arguments."""
    with open_pipeline(sources, phrases, **settings) as pipeline:
        yield from pipeline
