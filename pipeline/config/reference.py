"""Every option in one page: `python -m groundstream.pipeline.config.reference > docs/options.md`.

It is made from the classes that declare the keys and from the table of flags; a test holds the page to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from groundstream.operators.events.rules import CountLine, CountRule, StreamRules, Zone
from groundstream.pipeline.config.flags import FLAGS, Flag, all_keys, keywords, shown_default
from groundstream.pipeline.config.keys import REQUIRED, Key, keys_of, plain_kind
from groundstream.pipeline.config.run import RunConfig

_HEAD = """\
# Every option

Made from the code by `python -m groundstream.pipeline.config.reference`; do not edit. One declaration makes
the flag of `groundstream run`, the key of YAML and the keyword of Python:

```
groundstream run street.mp4 -q person --fps 2 --score 0.3 --model glip-nano --out out
```

```yaml
streams: [{source: street.mp4, fps: 2}]
phrases: [person]
track: {score: 0.3}
model: glip-nano                # short for model: {name: glip-nano}
output: {dir: out}
```

```py
gs.run("street.mp4", ["person"], fps=2, score=0.3, model="glip-nano", out="out")
```

A key without a flag is for YAML and Python alone. In YAML a dot is a level (`track.score` is `score:` below
`track:`), and `streams.fps` a key of one stream; a flag or a keyword of a stream is for every source. Python
takes whole parts, too, as YAML has them (`track={"score": 0.3}`). An unknown word or key is an error that
names the nearest right one.
"""

_SECTIONS = (
    ("What to look for", ("phrases", "sentence", "control")),
    ("Sources", ("streams",)),
    ("Model", ("model", "text_cache")),
    ("Tracking", ("track",)),
    ("Output", ("output",)),
    ("Events, clips, recording", ("rules", "clips", "recording", "keep")),
    ("Running", ("executor", "ray", "metrics")),
)

_RULES = (
    ("Rules: what a file of `--rules` and `rules:` hold", StreamRules, "Zones, lines and counts have names: "
     "`zones: {gate: {polygon: ...}}`. [Events](events.md) says what becomes of them."),
    ("A zone", Zone, "An area of the picture."),
    ("A line", CountLine, "A line that objects cross."),
    ("A count", CountRule, "A number of objects that is passed, above or below."),
)  # fmt: skip


def page() -> str:
    """Return docs/options.md."""
    return "\n".join([_HEAD, *_sections(), *_rules(), *_of_the_command()])


def _sections() -> Iterator[str]:
    flags = {flag.path: flag for flag in FLAGS}
    words = {path: word for word, path in keywords().items()}
    for title, parts in _SECTIONS:
        rows = [
            (*_names(flags.get(path)), f"`{'.'.join(path)}`", _code(_word(path, words)), *_meaning(key))
            for path, key in all_keys()
            if path[0] in parts and (key.part is None or path in flags or path[-1] in ("streams", "rules"))
        ]
        yield f"## {title}\n"
        yield _table(("flag", "YAML", "Python", "default", "meaning"), rows)


def _rules() -> Iterator[str]:
    for title, part, about in _RULES:
        yield f"## {title}\n\n{about}\n"
        keys = [key for name, key in keys_of(part).items() if name != "name"]
        yield _table(("key", "default", "meaning"), [(f"`{key.name}`", *_meaning(key)) for key in keys])


def _of_the_command() -> Iterator[str]:
    yield (
        "## Of the command alone\n\n`--config FILE` reads YAML, `--phrases-file FILE` phrases, one a line; "
        "`--quiet`, `--log-level` and\n`--log-format` are about what the command says.\n"
    )
    old = [(old, flag.name) for flag in FLAGS for old in flag.old] + [("--phrases", "--phrases-file")]
    names = ", ".join(f"`{before}` (now `{now}`)" for before, now in old)
    yield f"Old names are understood for one more release:\n{names}, the key `record` (now `recording`).\n"


def _names(flag: Flag | None) -> tuple[str]:
    if flag is None:
        return ("",)
    value = f" {flag.shown_value}" if flag.shown_value else ""
    return (_code((", ".join(flag.names.split()) + value).replace("|", "\\|")),)


def _word(path: Sequence[str], words: dict[tuple[str, ...], str]) -> str:
    """Return a key's keyword; a part's main value goes by the part's own."""
    main = len(path) == 2 and keys_of(RunConfig)[path[0]].part
    if main and getattr(main, "main_key", None) == path[1]:
        return "" if path[0] == "streams" else path[0]
    return words.get(tuple(path), "")


def _meaning(key: Key) -> tuple[str, str]:
    choices = _choices(key.kind)
    meaning = key.meaning.replace("|", "\\|")
    if choices and not all(choice in meaning for choice in choices):
        meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    default = "has to be given" if key.default is REQUIRED else _code(shown_default(key))
    return default, meaning


def _choices(kind: Any) -> tuple[str, ...]:
    kind = plain_kind(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
