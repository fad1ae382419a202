"""Reads a configuration from YAML, and says what is wrong in sentences that its writer can mend it by."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from groundstream.operators.errors import ConfigError
from groundstream.operators.urls import shown
from groundstream.operators.utils.files import explain
from groundstream.pipeline.config.base import Strict
from groundstream.pipeline.config.keys import (
    FLAT,
    OLD_KEYS,
    WORDS_ELSEWHERE,
    Location,
    is_part,
    keys_of,
    part_at,
    plain_kind,
)

Part = TypeVar("Part", bound=Strict)
Where = Callable[[Location], str]
#: What the user calls a key that is in no file: a flag (`--batch`), or a keyword of Python (`metrics_port`).
Names = Mapping[Location, str]
NO_NAMES: Names = MappingProxyType({})

MOST_SENTENCES = 3

#: What is expected, where the checker says it in words of Python.
_SAID = {
    "too_short": "expected at least one",
    "path_type": "expected a path, as 'out'",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "int_from_float": "expected a whole number",
}


@dataclass(frozen=True)
class Written:
    """A YAML file as it was read.

    Attributes:
        path: the file.
        values: what it holds, unchecked.
        lines: the line of every key and item, by its place.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Location, int]

    def where(self, location: Location) -> str:
        """Name file and line of a key, or of the nearest one around it."""
        known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in self.lines), None)
        return f"{self.path}, line {self.lines[known]}: " if known else f"{self.path}: "


def read_file(path: Path, kind: type) -> Written:
    """Read a YAML file of the keys of `kind`, which are not checked yet.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds no keys; says the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory; give a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = explain(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    try:
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    try:
        lines, repeated = dict(_lines(tree)), [*_repeated(tree)]
    except RecursionError:
        raise ConfigError(f"{path}: an alias holds itself") from None
    for key, first, second in repeated:
        raise ConfigError(
            f"{path}, line {second}: the key '{key}' is there already, in line {first}; keep one of them"
        )
    if not isinstance(values, dict):
        keys = " and ".join(f"'{key}:'" for key in list(keys_of(kind))[:2])
        given = f"but got {shown(values)}" if values is not None else "but it is empty"
        raise ConfigError(f"{path}: expected keys such as {keys}, {given}")
    return Written(path, values, lines)


def merged(kind: type | None, values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a part of `kind` with `overrides` laid over them, key by key."""
    result = dict(kind.written_out(values) if kind is not None and issubclass(kind, Strict) else values)
    keys = keys_of(kind) if kind is not None else {}
    for name, value in overrides.items():
        old, part = result.get(name), plain_kind(keys[name].kind) if name in keys else None
        if isinstance(part, type) and issubclass(part, Strict):
            old, value = part.written_out(old), part.written_out(value)  # `clips: events` keeps its word
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = merged(part if is_part(part) else None, old, value)
        result[name] = value
    return result


def checked(
    kind: type[Part],
    values: Mapping[str, Any],
    where: Where = lambda location: "",
    names: Names = NO_NAMES,
) -> Part:
    """Check plain values; `where` names the place of a key, or nothing.

    A key that has one of the `names` goes by it in errors, whatever `where` says: where a flag wins over a
    line of a file, the flag is at fault.

    Raises:
        ConfigError: what is wrong, at most three things, where, and the nearest right key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _follows(detail, error.errors())]
        sentences = [_sentence(detail, kind, values, where, names) for detail in details[:MOST_SENTENCES]]
        raise ConfigError("; ".join(sentences)) from None


def _repeated(node: yaml.Node | None) -> Iterator[tuple[str, int, int]]:
    """Yield each key that stands twice in one mapping, which YAML forbids and its reader does not mind."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (name := (key.tag, key.value)) in seen:
                    yield key.value, seen[name], line
                seen[name] = line
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def _lines(node: yaml.Node | None, at: Location = ()) -> Iterator[tuple[Location, int]]:
    """Yield the line of every key and item, by its place."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value
            if not at and name in OLD_KEYS:
                yield (name,), key.start_mark.line + 1  # where both names are given, errors say the old one
                name = OLD_KEYS[name]
            if key.tag == "tag:yaml.org,2002:bool":  # `no:` is the key False, in errors too
                name = yaml.SafeLoader.bool_values[key.value.lower()]
            place = (*at, name)
            yield place, key.start_mark.line + 1
            yield from _lines(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*at, number), item.start_mark.line + 1
            yield from _lines(item, (*at, number))


def _follows(detail: Any, others: Sequence[Any]) -> bool:
    """Tell whether an error is only the consequence of one further inside."""
    at = detail["loc"]
    return any(len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in others)


def _sentence(detail: Any, root: type[Strict], values: Mapping[str, Any], where: Where, names: Names) -> str:
    location, kind, given = _as_written(detail["loc"], values), detail["type"], detail["input"]
    own_name = _own_name(location, names)
    place = where(location) if own_name is None else ""
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        old = str(location[0])
        if len(location) == 1 and OLD_KEYS.get(old) in values:
            return f"{place}'{old}' is the old name of '{OLD_KEYS[old]}', and both are given; remove '{old}'"
        return f"{place}unknown key '{location[-1]}'{_nearest(location, root)}"
    if kind == "invalid_key":
        return f"{where(location[:-1])}the key {given!r} is no word, as YAML reads it; put it in quotes"
    name = own_name or (".".join(map(str, location)) if place else str(location[-1]) if location else "")
    if kind == "missing":
        return f"{place}{name} is missing"
    message = _message(detail, root, location)
    if kind == "value_error" and isinstance(given, Mapping):
        return _of_a_part(message, location, given, where, names)
    got = "" if isinstance(given, Mapping) else f", but got {shown(given, 80)}"
    return f"{place}{name}: {message}{got}{_quotes(kind, given) if place else ''}"


def _of_a_part(message: str, location: Location, given: Mapping[str, Any], where: Where, names: Names) -> str:
    """Return what is wrong with a part as a whole; it names the key: "end_s must be later than start_s"."""
    said = re.sub(r"\w+(\.\w+)*", lambda key: names.get((*location, *key[0].split(".")), key[0]), message)
    if said != message:
        return said
    named = next((word for word in re.findall(r"\w+", message) if word in given), None)
    return f"{where((*location, named) if named else location)}{message}"


def _own_name(location: Location, names: Names) -> str | None:
    """Return what the user calls a key that came by a flag or a keyword, with the keys inside of it."""
    for length in range(len(location), 0, -1):
        if (name := names.get(location[:length])) is not None:
            return ".".join([name, *(step for step in location[length:] if isinstance(step, str))])
    return None


def _message(detail: Any, root: type[Strict], location: Location) -> str:
    """Return what was expected; in words of YAML where the checker has those of Python."""
    if detail["type"] == "tuple_type":
        return "expected a list, as [a, b]"
    if detail["type"] in ("model_type", "dataclass_type"):
        return f"expected keys such as {', '.join(list(keys_of(part_at(root, location)))[:3])}"
    if detail["type"] in _SAID:
        return _SAID[detail["type"]]
    message = re.sub(r"^(Value error|Assertion failed), |, unable to parse string as .*$", "", detail["msg"])
    return message[:1].lower() + message[1:]


def _as_written(location: Location, values: Any) -> Location:
    """Return a location as the file has it: a rule by its name, a source's keys beside the stream's."""
    written: list[int | str] = []
    at = values
    for step in location:
        if step == FLAT:
            continue
        if isinstance(at, Mapping) and isinstance(step, int) and step < len(at):
            step = list(at)[step]
        written.append(step)
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            at = None
    return tuple(written)


def _quotes(kind: str, given: object) -> str:
    """Return what helps where YAML has made something else of a word."""
    if isinstance(given, bool) and kind in ("string_type", "literal_error"):
        return "; YAML reads on, yes, off and no as true and false: put the word in quotes"
    return "; put it in quotes" if kind == "string_type" and not isinstance(given, Mapping | list) else ""


def _nearest(location: Location, root: type) -> str:
    word, part = str(location[-1]), part_at(root, location[:-1])
    keys = list(keys_of(part))
    if part is root and (path := _further_in(root, word)):
        return f"; did you mean '{'.'.join(path)}'?"
    close = difflib.get_close_matches(word, keys, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(keys)}"


def _further_in(root: type, word: str) -> tuple[str, ...]:
    """Return the path of a key that was written at the top, or that another tool calls so; () for none."""
    known = WORDS_ELSEWHERE.get(word, ())
    if known and known[0] in keys_of(root):
        return known
    parts = [key for key in keys_of(root).values() if key.part is not None and word in keys_of(key.part)]
    return (parts[0].name, word) if parts else ()
