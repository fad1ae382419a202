"""Measure a tree of this project: `python tests/house.py [TREE] [--journeys]`.

The table counts the Python that ships (`models/`, `operators/`, `pipeline/`), and `training/` in a row of its
own where the tree has it: lines, files in the fullest folder, lines of files and functions (median/95th
percentile/most), the most arguments of a function, the share of functions that are private and are named at
one place beside their definition in their file, and the share of comments among lines that are not blank.

`--journeys` runs the shipped clip with `--model fake`, notes in every thread and process which functions are
entered (not those that an import calls), and lists the files that hold them:

- frame to record: functions that are entered at least once per frame, with records, video and rules;
- phrase to label: functions of a plain run that handle a phrase, prompt or query by name;
- event to clip: files that are opened with rules and clips, and are not without.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

SHIPPED = ("models", "operators", "pipeline")
HEADER = (
    "| | files | lines | fullest folder | file median/p95 | function median/p95/max | most arguments "
    "| private functions named once | comment lines |\n|---|---|---|---|---|---|---|---|---|"
)
ABOUT_PHRASES = re.compile("phrase|prompt|quer")


class Entered(NamedTuple):
    """A function that was entered: its file in the tree, its name, the names that it uses, how often."""

    file: str
    name: str
    uses: str
    times: int


def row(label: str, files: Sequence[Path]) -> str:
    """Return the table's row for `files`."""
    texts = [path.read_text(encoding="utf-8") for path in files]
    lines = [text.splitlines() for text in texts]
    filled = [line.strip() for text in lines for line in text if line.strip()]
    functions = [(node, text) for text in texts for node in _functions(text)]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node, _ in functions]
    once = sum(_is_private(node.name) and _times(node.name, text) == 2 for node, text in functions)
    folders = Counter(path.parent for path in files)
    sizes = [len(text) for text in lines]
    cells = (
        label,
        len(files),
        f"{sum(sizes) / 1000:.1f}k",
        max(folders.values()),
        f"{statistics.median_low(sizes)}/{_p95(sizes)}",
        f"{statistics.median_low(lengths)}/{_p95(lengths)}/{max(lengths)}",
        max(_arguments(node) for node, _ in functions),
        f"{once / len(functions):.0%}",
        f"{sum(line.startswith('#') for line in filled) / len(filled):.1%}",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def table(tree: Path) -> str:
    """Return the table for `tree`."""
    rows = [row("shipped", _python(tree, SHIPPED))]
    if (tree / "training").exists():
        rows += [
            row("training", _python(tree, ["training"])),
            row("both", _python(tree, [*SHIPPED, "training"])),
        ]
    return "\n".join([HEADER, *rows])


def journeys(tree: Path) -> dict[str, list[str]]:
    """Return the files that each of the three journeys opens in `tree`."""
    rules = ["--rules", str(tree / "configs" / "street-rules.yaml")]
    with tempfile.TemporaryDirectory() as folder:
        plain, frames = _traced(tree, Path(folder, "plain"), [])
        zones_known, frames = _traced(tree, Path(folder, "rules"), rules)
        clipped, _ = _traced(tree, Path(folder, "clips"), [*rules, "--clips", "events"])
    return {
        "frame to record": _files(call for call in zones_known if call.times >= frames),
        "phrase to label": _files(call for call in plain if ABOUT_PHRASES.search(call.uses)),
        "event to clip": sorted(set(_files(clipped)) - set(_files(plain))),
    }


def trace(folder: str) -> None:
    """Note what this process enters, in every thread; called by the `sitecustomize` of a traced run."""
    times: dict[tuple[str, CodeType], int] = {}
    # A function is written down when it is first met, for processes that are ended by a signal.
    out = Path(folder, f"{os.getpid()}.calls").open("a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(file: str, code: CodeType, count: int) -> None:
        uses = " ".join(sorted({*code.co_names, *code.co_varnames}))
        out.write(f"{os.path.realpath(file)}\t{code.co_qualname}\t{uses}\t{count}\n")

    def note(frame: FrameType, event: str, _: object) -> None:
        # The globals' file, not the code's: methods that a dataclass was given have no file of their own.
        file = frame.f_globals.get("__file__") or ""
        if event != "call" or "/groundstream/" not in file or frame.f_code.co_name == "<module>":
            return
        key = (file, frame.f_code)
        if key not in times:
            if _is_importing(frame):
                return
            write(file, frame.f_code, 1)
        times[key] = times.get(key, 0) + 1

    def finish() -> None:
        sys.setprofile(None)
        for (file, code), count in list(times.items()):
            write(file, code, count)
        out.close()

    atexit.register(finish)
    threading.setprofile(note)
    sys.setprofile(note)


def _traced(tree: Path, folder: Path, options: Sequence[str]) -> tuple[list[Entered], int]:
    """Run the clip once; return what was entered, and the number of frames."""
    site, calls, out = folder / "site", folder / "calls", folder / "out"
    site.mkdir(parents=True)
    calls.mkdir()
    code = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport house\n"
    (site / "sitecustomize.py").write_text(f"{code}sys.path.pop(0)\nhouse.trace({str(calls)!r})\n", "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "groundstream.pipeline.cli",
        "run",
        str(tree / "configs/demo/street.mp4"),
    ]
    # One picture a batch and a text cache that is empty: what is entered is the same on any machine.
    command += ["-q", "person", "-q", "white van", "--model", "fake", "--executor", "local", "--batch", "1"]
    command += ["--text-cache", str(folder / "text.sqlite"), "--out", str(out), "--quiet", *options]
    subprocess.run(command, check=True, env=environment)
    frames = len((out / "detections.jsonl").read_text(encoding="utf-8").splitlines())
    return read_calls(tree.resolve(), calls), frames


def read_calls(tree: Path, folder: Path) -> list[Entered]:
    """Return what was entered, with the sum of each function's calls over all processes."""
    times, uses = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for path in folder.iterdir():
        here = dict[tuple[str, str], int]()
        for line in path.read_text(encoding="utf-8").splitlines():
            file, name, used, count = line.split("\t")
            key = (str(Path(file).relative_to(tree)), name)
            uses[key], here[key] = used, max(here.get(key, 0), int(count))
        times.update(here)
    return [Entered(file, name, uses[file, name], count) for (file, name), count in times.items()]


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return True
        frame = frame.f_back
    return False


def _files(calls: Iterable[Entered]) -> list[str]:
    return sorted({call.file for call in calls})


def _python(tree: Path, folders: Sequence[str]) -> list[Path]:
    return [path for folder in folders for path in sorted((tree / folder).rglob("*.py"))]


def _functions(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found = ast.walk(ast.parse(text))
    return [node for node in found if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _times(name: str, text: str) -> int:
    return len(re.findall(rf"\b{name}\b", text))


def _p95(values: Sequence[int]) -> int:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def main() -> None:
    """Print the table of a tree, and the files of its journeys where they are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tree", nargs="?", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--journeys", action="store_true", help="run the shipped clip and list the files")
    asked = parser.parse_args()
    print(table(asked.tree))
    for name, files in (journeys(asked.tree.resolve()) if asked.journeys else {}).items():
        print(f"\n{name}: {len(files)} files", *files, sep="\n  ")


if __name__ == "__main__":
    main()
