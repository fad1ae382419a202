"""Reads a part of a configuration from YAML, and says in which line what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from groundstream.operators.errors import ConfigError
from groundstream.pipeline.config.errors import Location, explain

Part = TypeVar("Part", bound=BaseModel)


def checked(kind: type[Part], values: Mapping[str, Any], where: Callable[[Location], str]) -> Part:
    """Check plain values; `where` names the place of a key, or nothing.

    Raises:
        ConfigError: what is wrong, where, and the nearest right key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, where)) from None


def read_file(kind: type[Part], path: Path, overrides: Mapping[str, Any] | None = None) -> Part:
    """Read a YAML file; `overrides` (flags that were given) win over it, key by key.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds a wrong key or value; says the line.
    """
    values, tree = _read_yaml(path, kind)
    lines = dict(_lines(tree))

    def where(location: Location) -> str:
        known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in lines), None)
        return f"{path}, line {lines[known]}: " if known else f"{path}: "

    return checked(kind, _merged(values, overrides or {}), where)


def _read_yaml(path: Path, kind: type[BaseModel]) -> tuple[dict[str, Any], yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory; give a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {_reason(error)}") from None
    try:
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        keys = " and ".join(f"'{key}:'" for key in list(kind.model_fields)[:2])
        raise ConfigError(f"{path}: expected keys such as {keys}, but got {values!r:.60}")
    return values, tree


def _reason(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)


def _merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overrides.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _lines(
    node: yaml.Node | None, at: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], int]]:
    """Yield the line of every key and item, by its path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*at, number), item.start_mark.line + 1
            yield from _lines(item, (*at, number))
