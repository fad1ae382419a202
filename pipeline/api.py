"""Python's door to the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, cast

from groundstream.operators.frames import FrameResult
from groundstream.pipeline.config.flags import from_keywords
from groundstream.pipeline.config.run import phrases_given, source_given
from groundstream.pipeline.pipeline import Pipeline

Source = str | PathLike[str] | int


def open_pipeline(
    sources: Source | Sequence[Source],
    phrases: Iterable[str] = (),
    **settings: Any,
) -> Pipeline:
    """Open a pipeline over one or several sources.

    Args:
        sources: files, folders of images, URLs or webcams (`webcam:0`, 0).
        phrases: what to look for, each in your own words; a single one may be a plain string.
        settings: any key of the configuration by its plain word (`fps=2`, `score=.3`, `model="glip-nano"`,
            `out="folder"`), or a part as YAML has it (`track={"score": .3}`); docs/options.md lists them.
            Without `out` nothing is written.

    Raises:
        GroundstreamError: a source, output, option or model is not as it should be.
    """
    one = isinstance(sources, str | bytes | PathLike) or not isinstance(sources, Iterable)
    several: Iterable[object] = [sources] if one else cast("Iterable[object]", sources)
    settings = {"phrases": phrases_given(phrases), **settings}
    return Pipeline(from_keywords([source_given(source) for source in several], settings))


def run(
    sources: Source | Sequence[Source], phrases: Iterable[str] = (), **settings: Any
) -> Iterator[FrameResult]:
    """Yield a `FrameResult` for every frame, as it comes; see `open_pipeline` for the arguments."""
    with open_pipeline(sources, phrases, **settings) as pipeline:
        yield from pipeline
