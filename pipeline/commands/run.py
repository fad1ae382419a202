"""`groundstream run`: from flags to a finished run.

Nothing heavy is imported before the run begins: `run --help` builds the command, too.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

import typer

from groundstream.operators.errors import ConfigError
from groundstream.operators.utils.files import explain
from groundstream.pipeline.config.file import merged
from groundstream.pipeline.config.flags import FLAGS, LOOK_FOR, RUNNING, Flag, key_at, nested
from groundstream.pipeline.config.keys import Location, is_part, plain_kind
from groundstream.pipeline.config.run import (
    RECORDS_NAME,
    VIDEO_NAME,
    RunConfig,
    load_config,
    make_config,
    read_rules,
)
from groundstream.pipeline.observe.logs import LogFormat, set_up_logging

if TYPE_CHECKING:
    from rich.console import Console

    from groundstream.pipeline.pipeline import Pipeline
    from groundstream.pipeline.streams.base import Stream

log = logging.getLogger("groundstream.config")

DEFAULT_FOLDER = "groundstream-runs"


def with_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command that takes `**flags` a parameter for each of `FLAGS`, as typer reads it."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    made = [parameter for flag in FLAGS for parameter in _parameters(flag)]
    parameters = [own[0], *made, *own[1:]]  # what is shown first in a panel stands first here
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _parameters(flag: Flag) -> Iterator[inspect.Parameter]:
    """Yield what typer makes of a flag, and of each of its old names, which the help does not show."""
    key = key_at(flag.path)
    kind = plain_kind(key.kind)
    if get_origin(kind) is tuple:
        kind = list[str]
    elif get_origin(kind) is Literal or kind in (int, float):
        kind = str  # the configuration checks it, and says what is wrong in the same words as for YAML
    elif is_part(kind):
        kind = bool if flag.key == "recording" else Path  # a part is switched on, or read from a file
    for names in (flag.names, *flag.old):
        option = typer.Option(
            *names.split(),
            help=flag.help,
            metavar=flag.shown_value,
            rich_help_panel=flag.panel,
            hidden=names in flag.old,
            show_default=False,
        )
        yield inspect.Parameter(
            _parameter_name(names.split()[-1]),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, option],
        )


def _parameter_name(names: str) -> str:
    return names.split("/")[0].lstrip("-").replace("-", "_")


@with_flags
def run_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders or globs of images, rtsp:// or http(s):// URLs, webcams (webcam:0).",
            show_default=False,
        ),
    ] = None,
    *,
    phrases_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with one phrase per line.", rich_help_panel=LOOK_FOR),
    ] = None,
    phrases: Annotated[Path | None, typer.Option(hidden=True)] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", metavar="FILE", help="YAML file; flags win over it.", rich_help_panel=RUNNING
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, no summary.", rich_help_panel=RUNNING)
    ] = False,
    log_level: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="What is logged: debug, info, warning or error. (default: warning)",
            rich_help_panel=RUNNING,
            show_default=False,
        ),
    ] = "warning",
    log_format: Annotated[
        LogFormat,
        typer.Option(
            metavar="text|json",
            help="How log lines look. (default: text)",
            rich_help_panel=RUNNING,
            show_default=False,
        ),
    ] = "text",
    **flags: Any,
) -> int:
    """Run what flags, files and sources say; return the exit code."""
    set_up_logging(log_level, log_format)
    if phrases is not None:
        _say_renamed("--phrases", "--phrases-file")
    stream, values = _given(flags)
    if (file := phrases_file or phrases) is not None:
        values["phrases"] = [*values.get("phrases", ()), *_phrases_in(file)]
    return run_config(_config(sources or [], config, stream, values), quiet=quiet)


def demo_command(out: Path) -> int:
    """Run the shipped configuration on the shipped clip; return the exit code."""
    with as_file(files("groundstream.configs")) as folder:
        output = {"output": {"dir": out, "overwrite": True}}
        clip = str(folder / "demo" / "street.mp4")
        return run_config(_config([clip], folder / "demo.yaml", {}, output))


def run_config(config: RunConfig, *, quiet: bool = False) -> int:
    """Run a configuration to its end, with progress and a summary on standard error; return the exit code.

    Raises:
        GroundstreamError: something that the user can mend.
    """
    running: list[Pipeline] = []
    with _signals(config, running) as ended_by:
        _run_pipeline(config, running, quiet=quiet)
    return 128 + ended_by[0] if ended_by else 0


def _run_pipeline(config: RunConfig, running: list[Pipeline], *, quiet: bool) -> None:
    from rich.console import Console

    from groundstream.pipeline.commands.progress import RunDisplay
    from groundstream.pipeline.pipeline import Pipeline  # after the check: a wrong option is told at once

    console = Console(stderr=True, quiet=quiet)
    with _metrics(config, running), Pipeline(config) as pipeline, _watched(config, pipeline):
        running.append(pipeline)
        try:
            with RunDisplay(pipeline.streams, console):
                pipeline.run()
        finally:
            _summary(console, config, pipeline.streams)


def _given(flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was given on the command line as keys: those of every source, and those of the run."""
    stream: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for flag in FLAGS:
        value = flags[_parameter_name(flag.name)]
        for old in flag.old:
            if given := flags[_parameter_name(old)]:
                _say_renamed(old, flag.name)
                value = [*(value or ()), *given] if isinstance(given, list) else given
        if value is None or value == []:
            continue
        if isinstance(value, str):
            value = _as_number(value, plain_kind(key_at(flag.path).kind))
        if flag.key == "rules":
            value = read_rules(value)
        if flag.path[0] == "streams":
            stream |= nested(flag.path[1:], value)
        else:
            values = merged(RunConfig, values, nested(flag.path, value))
    return stream, values


def _as_number(text: str, kind: Any) -> Any:
    """Return a flag's text as the number that it is to be; as it is where it is none."""
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _say_renamed(old: str, new: str) -> None:
    log.warning("%s is called %s now; the old name goes with the next release", old, new)


def _phrases_in(path: Path) -> tuple[str, ...]:
    from groundstream.pipeline.config.control import read_phrases

    try:
        return read_phrases(path).phrases
    except OSError as error:
        raise ConfigError(f"cannot read the phrases in {path}: {explain(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _config(
    sources: Sequence[str], config_file: Path | None, stream: Mapping[str, Any], values: Mapping[str, Any]
) -> RunConfig:
    overrides: dict[str, Any] = dict(values)
    if sources:
        overrides["streams"] = [{"source": source, **stream} for source in sources]
    elif stream:
        flags = ", ".join(flag.name for flag in FLAGS if flag.path[0] == "streams" and flag.path[1] in stream)
        raise ConfigError(f"{flags} without a source; name the sources on the command line too")
    if config_file is None and not sources:
        raise ConfigError("no source given; name a file, a folder, a URL or a webcam, or use --config FILE")
    names = _flags_in(overrides)
    if "sentence" in overrides:
        overrides.setdefault("phrases", ())  # those of the file would win over the flag's sentence
    config = load_config(config_file, overrides, names) if config_file else make_config(overrides, names)
    if config.output.dir is None and not config.output.sinks:
        folder = Path(DEFAULT_FOLDER) / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        config = config.model_copy(update={"output": config.output.model_copy(update={"dir": folder})})
    return config


def _flags_in(overrides: Mapping[str, Any]) -> dict[Location, str]:
    """Return the flag behind each value of the command line, by which its user knows it in errors."""
    names: dict[Location, str] = {}
    for flag in FLAGS:
        first, *rest = flag.path
        if first == "streams":
            names |= {(first, number, *rest): flag.name for number in range(len(overrides.get(first, ())))}
        elif key_at(flag.path).part is None and _holds(
            overrides, flag.path
        ):  # parts are laid over the file's
            names[flag.path] = flag.name
    return names


def _holds(values: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


@contextmanager
def _signals(config: RunConfig, running: Sequence[Pipeline]) -> Iterator[list[int]]:
    """End the run in order on Ctrl-C and SIGTERM; a second signal ends it at once.

    Before a pipeline is `running` there is nothing to finish: what has been started is given up.
    """
    from groundstream.pipeline.executors.ray_cluster import abandon  # not in a handler: it may cut an import
    from groundstream.pipeline.pipeline import executor_of

    ended_by: list[int] = []
    under_ray = executor_of(config) == "ray"

    def end(number: int, _: FrameType | None) -> None:
        if ended_by:
            os._exit(128 + number)
        ended_by.append(number)
        sentence = f"ended by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'} before the run began"
        if running:
            threading.Thread(target=running[0].stop, daemon=True).start()
        elif under_ray:
            # Not by an exception: Ray, cut short in its start, crashes in its shutdown.
            os.write(2, f"error: {sentence}\n".encode())
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # other threads complain of processes that are gone
            abandon()
            os._exit(128 + number)
        else:
            raise KeyboardInterrupt(sentence, 128 + number)

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
    from groundstream.pipeline.config.control import PhraseFile

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
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(view.dropped.items()))
    tail = f"; dropped: {lost}" if lost else ""
    tail += f"; {view.health.restarts} restarts" if view.health.restarts else ""
    return f"{stream.id}: {view.results} frames{tail}"
