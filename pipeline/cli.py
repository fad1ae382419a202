"""The command line. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

ABOUT_RUN = "Find PHRASES in every frame of SOURCES, track them, write records and an annotated video."
EXIT_CODES = """
Exit codes: 0 done · 1 unexpected error · 2 wrong option or configuration · 3 a source cannot be read ·
4 the model cannot be loaded · 5 an output cannot be written · 6 the detector gives no answers ·
7 no Ray cluster that is large enough · 8 `adapt` found no improvement · 130 ended by Ctrl-C ·
143 ended by SIGTERM (in both cases all files are finished).
"""

app = typer.Typer(
    name="groundstream",
    help="Find things in live video by saying what they are.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _guard(work: Any) -> Any:
    """Do `work`; turn errors that a user can mend into one sentence and an exit code."""
    from groundstream.models.errors import GroundstreamError
    from groundstream.operators.urls import mask

    try:
        return work()
    except GroundstreamError as error:
        sentence, code = str(error), error.exit_code
    except ValueError as error:
        sentence, code = str(error), 2
    except KeyboardInterrupt as interrupt:  # `run` tells Ctrl-C from SIGTERM
        sentence, code = interrupt.args or ("ended by Ctrl-C before the run began", 130)
    if code:
        print(mask(f"error: {sentence}"), file=sys.stderr)
    raise typer.Exit(code)


def _guarded(command: Callable[..., int]) -> Callable[..., None]:
    @wraps(command)
    def guarded(**given: Any) -> None:
        raise typer.Exit(_guard(lambda: command(**given)))

    return guarded


class _Command(TyperCommand):
    """A command whose errors do not suggest the old names of its flags, which the help does not show."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; what is near to an unknown flag is named where it is no old name."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # no such option; typer has a click of its own, which is private
            if near := getattr(error, "possibilities", None):
                old = {name for each in self.params if getattr(each, "hidden", False) for name in each.opts}
                error.possibilities = [name for name in near if name not in old]  # type: ignore[attr-defined]
            raise


class _RunCommand(TyperCommand):
    """`run` in the list of commands; the flags, which the configuration declares, come when it is called."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Parse with the real command."""
        return run_with_flags().make_context(*arguments, **named)


@app.command("run", cls=_RunCommand, help=ABOUT_RUN)
def _run() -> None: ...


def run_with_flags() -> TyperCommand:
    """Return the command `run` with all its flags. It costs as much as all of `groundstream --help`."""
    from groundstream.pipeline.commands.run import run_command

    alone = typer.Typer(add_completion=False)
    alone.command("run", cls=_Command, help=ABOUT_RUN, epilog=EXIT_CODES)(_guarded(run_command))
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")] = Path("out/demo"),
) -> None:
    """Run on the clip that ships with groundstream; needs no network."""
    from groundstream.pipeline.commands.run import demo_command
    from groundstream.pipeline.observe.logs import set_up_logging

    _guard(set_up_logging)
    raise typer.Exit(_guard(lambda: demo_command(out)))


@app.command()
def zones(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What `run` takes.")],
    rules: Annotated[
        Path | None, typer.Argument(metavar="RULES", help="Draw the zones and lines of this YAML file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The picture, .png or .jpg. (default: SOURCE-zones.png)"),
    ] = None,
    at: Annotated[float | None, typer.Option(metavar="SECONDS", help="The moment of a file.")] = None,
) -> None:
    """Draw a labelled grid on a frame of SOURCE, to read zones from and to check them."""
    from groundstream.pipeline.commands.zones import zones_command
    from groundstream.pipeline.observe.logs import set_up_logging

    _guard(set_up_logging)
    _guard(lambda: zones_command(source, rules, out, at))


@app.command()
def events(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder of a run.")],
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this time on (2026-05-01T14:30, ...Z for UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to this time.")] = None,
    phrase: Annotated[str | None, typer.Option(help="Only this phrase.")] = None,
    stream: Annotated[str | None, typer.Option(metavar="ID", help="Only this stream.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only this kind: appear, zone_enter, line_cross, ...")
    ] = None,
    tracks: Annotated[bool, typer.Option("--tracks", help="What was seen instead of what happened.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the events of a run: time, stream, phrase, clip; or what was seen."""
    from groundstream.pipeline.commands.events import events_command

    _guard(
        lambda: events_command(
            folder,
            since=since,
            until=until,
            phrase=phrase,
            stream=stream,
            kind=kind,
            tracks=tracks,
            as_json=as_json,
        )
    )


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The --out folder of a run with --recording.")
    ],
    start: Annotated[
        str,
        typer.Option("--from", metavar="WHEN", help="Seconds of the video, or a time as `events` has it."),
    ],
    end: Annotated[str, typer.Option("--to", metavar="WHEN", help="The same, for the end.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for clips. (default: DIR/exports)")
    ] = None,
    stream: Annotated[str | None, typer.Option(metavar="ID", help="Only this stream.")] = None,
) -> None:
    """Cut a clip out of a recording, annotated with what was detected."""
    from groundstream.pipeline.commands.events import export_command

    _guard(lambda: export_command(folder, start, end, out, stream))


models_app = typer.Typer(help="List the models that can be named, and which of them are on this machine.")
app.add_typer(models_app, name="models")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that can be named, and which of them are on this machine."""
    from groundstream.pipeline.commands.info import print_models

    if context.invoked_subcommand is None:
        _guard(print_models)


@models_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An official GLIP checkpoint (.pth).")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .safetensors file, or a folder.")],
) -> None:
    """Convert an official GLIP checkpoint to a file that `--model` takes."""
    from groundstream.pipeline.commands.info import print_conversion

    _guard(lambda: print_conversion(source, out))


eval_app = typer.Typer(help="Measure on video that is spoiled in known ways.")
app.add_typer(eval_app, name="eval")


@eval_app.callback()
def evaluate() -> None:
    """Measure on video that is spoiled in known ways."""


@eval_app.command("temporal")
def eval_temporal(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="VIDEO...", help="Real footage; without it the demo clip.", show_default=False
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="cta or a file of `adapt`; repeat for more. (default: cta)"),
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Sprites for generated clips too; docs/scenes.md says how."),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per video and per seed.")] = 12,
    seeds: Annotated[int, typer.Option(min=1, help="Sets of generated clips.")] = 3,
    start: Annotated[
        float,
        typer.Option(
            min=0, metavar="S", help="Seconds of each video to skip (what training saw); not of shorter ones."
        ),
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for temporal.json and temporal.png.")
    ] = None,
) -> None:
    """Compare glip-nano with and without a memory on clean and spoiled clips."""
    from rich.console import Console

    from groundstream.pipeline.commands.evaluate import EvalOptions, eval_command

    names = tuple(adapter or ["cta"])
    options = EvalOptions(names, bank, tuple(videos or ()), clips, seeds, start, out)
    _guard(lambda: eval_command(options, Console()))


@app.command(cls=_Command)
def adapt(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Your footage, unlabelled.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The adapter, for `run --adapter FILE`.")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="The model that it is for; see `groundstream models`.")
    ] = "glip-nano",
    phrases: Annotated[
        list[str] | None,
        typer.Option("-q", "--phrase", metavar="PHRASE", help="What the gain is measured on; repeat."),
    ] = None,
    old: Annotated[list[str] | None, typer.Option("--query", hidden=True)] = None,
    steps: Annotated[int, typer.Option(help="Steps of training, about half a second each.")] = 300,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older file.")] = False,
) -> None:
    """Train a memory for the model on your own footage; saved only if it beats frame by frame on it."""
    from rich.console import Console

    from groundstream.pipeline.commands.adapt import AdaptOptions, adapt_command

    options = AdaptOptions(tuple(videos), out, model, (*(phrases or ()), *(old or ())), steps, overwrite)
    _guard(lambda: adapt_command(options, Console()))


@app.command()
def doctor(
    text_cache: Annotated[
        str | None, typer.Option(metavar="URL", help="Also try this Redis.", show_default=False)
    ] = None,
) -> None:
    """Say what this machine has: decoders, GPU, bfloat16, Redis, cached weights."""
    from groundstream.pipeline.commands.info import print_doctor

    _guard(lambda: print_doctor(text_cache))


@app.command()
def check(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML file for `run --config`, or for --rules.")
    ],
) -> None:
    """Check a configuration without running it."""
    from groundstream.pipeline.commands.info import print_check

    _guard(lambda: print_check(config))


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from groundstream import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every expected error ends as one sentence and a documented exit code."""
    app()


if __name__ == "__main__":
    main()
