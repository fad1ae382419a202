"""Which keys a configuration has, read from the classes that declare them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

Location = tuple[int | str, ...]

#: Stands in a location for a value whose keys stand among those of the part that holds it.
FLAT = "(of the source)"
#: Keys that have been renamed, and are read for one more release.
OLD_KEYS = {"record": "recording"}
#: What other tools call a key, with its path here: for errors, which name the right one.
WORDS_ELSEWHERE = {
    **dict.fromkeys(("query", "queries", "prompt", "prompts", "classes", "labels"), ("phrases",)),
    **dict.fromkeys(("conf", "confidence", "threshold", "box_threshold"), ("track", "score")),
    **dict.fromkeys(("dir", "folder", "output_dir", "out_dir", "save_dir", "out"), ("output", "dir")),
    **dict.fromkeys(("weights", "checkpoint"), ("model",)),
}
#: The default of a key that has to be given.
REQUIRED: Any = ...


@dataclass(frozen=True)
class Key:
    """One key of a part of a configuration.

    Attributes:
        name: as YAML has it.
        kind: type of its value.
        default: its value where it is left out; `REQUIRED` where it cannot be.
        meaning: what it is for; empty where the class does not say.
    """

    name: str
    kind: Any
    default: Any
    meaning: str

    @property
    def part(self) -> type | None:
        """The class of keys that it holds, if it holds any."""
        return next(parts_in(self.kind), None)


@cache
def keys_of(part: type) -> dict[str, Key]:
    """Return the keys of a part, by name and in their order."""
    told = _meanings(part)
    if not issubclass(part, BaseModel):
        kinds = get_type_hints(part, include_extras=True)
        return {
            field.name: Key(
                field.name,
                kinds[field.name],
                REQUIRED if field.default is MISSING else field.default,
                told.get(field.name, ""),
            )
            for field in fields(part)  # type: ignore[arg-type]  # every other part is a dataclass
        }
    keys: dict[str, Key] = {}
    for name, field in part.model_fields.items():
        if field.validation_alias == FLAT:
            keys |= keys_of(next(parts_in(field.annotation)))
        else:
            default = REQUIRED if field.is_required() else field.default
            keys[name] = Key(name, field.annotation, default, told.get(name, ""))
    return keys


def part_at(root: type, location: Location) -> type:
    """Return the part at `location`; numbers and names of a table lead nowhere."""
    part = root
    for step in location:
        key = keys_of(part).get(str(step))
        part = (key.part if key else None) or part
    return part


def is_part(kind: Any) -> bool:
    """Tell whether a type is a class of keys."""
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel))


def parts_in(kind: Any) -> Iterator[type]:
    """Yield the classes of keys that a value may hold, however they are wrapped."""
    if is_part(kind):
        yield kind
    for inner in get_args(kind):
        yield from parts_in(inner)


def plain_kind(kind: Any) -> Any:
    """Return a type without None and without what is demanded of its values."""
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    inner = [each for each in get_args(kind) if each is not NoneType]
    return plain_kind(inner[0]) if NoneType in get_args(kind) else kind


def _meanings(part: type) -> dict[str, str]:
    """Return what a class says of its fields: in strings below them, or in its docstring."""
    listed = re.findall(
        r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", inspect.getdoc(part) or "", flags=re.MULTILINE
    )  # the lines of "Attributes:"
    meanings = dict(listed)
    for pair in _bodies(inspect.getfile(part)).get(part.__name__, ()):
        match pair:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                meanings[name] = text
    return {name: _sentence(text) for name, text in meanings.items()}


@cache
def _bodies(file: str) -> dict[str, list[tuple[ast.stmt, ast.stmt]]]:
    """Return each class of a source file as pairs of statements that follow each other."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except OSError:
        return {}  # installed without its source: the help is shorter
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: list(zip(node.body, node.body[1:], strict=False)) for node in classes}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:] if not text.startswith("`") else text
    return text if text.endswith(".") else f"{text}."
