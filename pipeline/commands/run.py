"""`groundstream run`: from flags to a finished run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from groundstream.operators.errors import ConfigError
from groundstream.pipeline.config.control import PhraseFile, read_phrases
from groundstream.pipeline.config.run import RECORDS_NAME, VIDEO_NAME, RunConfig, load_config, make_config

if TYPE_CHECKING:
    from groundstream.pipeline.pipeline import Pipeline
    from groundstream.pipeline.streams.base import Stream

DEFAULT_FOLDER = "groundstream-runs"


def run_command(
    sources: Sequence[str],
    query: Sequence[str],
    phrases_file: Path | None,
    config_file: Path | None,
    stream: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    quiet: bool,
) -> int:
    """Run what flags and file say; return the exit code.

    Raises:
        GroundstreamError: something that the user can mend.
    """
    config = _config(sources, [*query, *_phrases(phrases_file)], config_file, stream, values)
    from groundstream.pipeline.commands.progress import RunDisplay
    from groundstream.pipeline.pipeline import Pipeline  # after the check: a wrong option is told at once

    console = Console(stderr=True, quiet=quiet)
    running: list[Pipeline] = []
    with (
        _metrics(config, running),
        Pipeline(config) as pipeline,
        _signals(pipeline) as ended_by,
        _watched(config, pipeline),
    ):
        running.append(pipeline)
        try:
            with RunDisplay(pipeline.streams, console):
                pipeline.run()
        finally:
            _summary(console, config, pipeline.streams)
        return 128 + ended_by[0] if ended_by else 0


def demo_command(out: Path) -> int:
    """Run the shipped configuration on the shipped clip; return the exit code."""
    with as_file(files("groundstream.configs")) as folder:
        output = {"dir": out, "overwrite": True}
        clip = str(folder / "demo" / "street.mp4")
        return run_command([clip], [], None, folder / "demo.yaml", {}, {"output": output}, quiet=False)


def _phrases(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return read_phrases(path).phrases
    except OSError as error:
        raise ConfigError(f"cannot read the phrases in {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _config(
    sources: Sequence[str],
    phrases: Sequence[str],
    config_file: Path | None,
    stream: Mapping[str, Any],
    values: Mapping[str, Any],
) -> RunConfig:
    overrides: dict[str, Any] = dict(values)
    if phrases:
        overrides["phrases"] = list(phrases)
    if sources:
        overrides["streams"] = [{"source": source, **stream} for source in sources]
    elif stream:
        raise ConfigError(f"{_flags(stream)} without a source; name the sources on the command line too")
    if config_file is None and not sources:
        raise ConfigError("no source given; name a file, a folder, a URL or a webcam, or use --config FILE")
    config = load_config(config_file, overrides) if config_file else make_config(overrides)
    if config.output.dir is None and not config.output.sinks:
        folder = Path(DEFAULT_FOLDER) / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        config = config.model_copy(update={"output": config.output.model_copy(update={"dir": folder})})
    return config


def _flags(values: Mapping[str, Any]) -> str:
    names = {"start_s": "--start", "end_s": "--end", "id": "--name"}
    return ", ".join(names.get(key, f"--{key}") for key in values)


@contextmanager
def _signals(pipeline: Pipeline) -> Iterator[list[int]]:
    """End the run in order on Ctrl-C and SIGTERM; a second signal ends it at once."""
    ended_by: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if ended_by:
            os._exit(128 + number)
        ended_by.append(number)
        threading.Thread(target=pipeline.stop, daemon=True).start()

    old = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended_by
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _metrics(config: RunConfig, running: Sequence[Pipeline]) -> Iterator[None]:
    """Serve metrics from the start on, so that a port that is taken is told before anything is written."""
    if config.metrics.port is None:
        yield
        return
    from groundstream.pipeline.observe.health import PipelineHealth
    from groundstream.pipeline.observe.metrics import MetricsServer

    def health() -> PipelineHealth:
        return running[0].health() if running else PipelineHealth()

    with MetricsServer(health, config.metrics.port, config.metrics.bind):
        yield


@contextmanager
def _watched(config: RunConfig, pipeline: Pipeline) -> Iterator[None]:
    """Follow the control file while the pipeline runs; SIGHUP reads it at once."""
    if config.control is None:
        yield
        return
    file = PhraseFile(config.control, pipeline.set_prompt)
    file.start()
    old = signal.signal(signal.SIGHUP, lambda *_: file.check()) if hasattr(signal, "SIGHUP") else None
    try:
        yield
    finally:
        if old is not None:
            signal.signal(signal.SIGHUP, old)
        file.close()


def _summary(console: Console, config: RunConfig, streams: Sequence[Stream]) -> None:
    """Say for each stream what came out, and where it lies."""
    for stream in streams:
        if stream.error is not None and not stream.view.results:
            continue
        console.print(_sentence(stream), highlight=False, soft_wrap=True)
        folder = config.output.dir
        if folder is not None:
            folder = folder / stream.id if len(streams) > 1 else folder
            for path in (folder / RECORDS_NAME, folder / VIDEO_NAME):
                if path.exists():
                    console.print(f"  {path}", highlight=False, soft_wrap=True)
    sys.stderr.flush()


def _sentence(stream: Stream) -> str:
    view = stream.view
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(view.health.dropped.items()))
    tail = f"; dropped: {lost}" if lost else ""
    tail += f"; {view.health.restarts} restarts" if view.health.restarts else ""
    return f"{stream.id}: {view.results} frames{tail}"
