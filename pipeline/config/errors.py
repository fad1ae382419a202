"""What is wrong with a configuration, in sentences that its writer can mend it by."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from groundstream.operators.urls import mask

Location = tuple[int | str, ...]
MOST_SENTENCES = 3


def explain(error: ValidationError, root: type[BaseModel], where: Callable[[Location], str]) -> str:
    """Return what is wrong, at most three things; `where` names the place of a key, or nothing."""
    details = [detail for detail in error.errors() if not _follows(detail, error.errors())]
    return "; ".join(_sentence(detail, root, where) for detail in details[:MOST_SENTENCES])


def _follows(detail: Any, others: Sequence[Any]) -> bool:
    """Tell whether an error is only the consequence of one further inside."""
    at = detail["loc"]
    return any(len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in others)


def _sentence(detail: Any, root: type[BaseModel], where: Callable[[Location], str]) -> str:
    location = tuple(part for part in detail["loc"])
    dotted = ".".join(str(part) for part in location)
    name = dotted if where(location) else str(location[-1]) if location else ""
    if detail["type"] == "extra_forbidden":
        return f"{where(location)}unknown key '{location[-1]}'{_nearest(location, root)}"
    if detail["type"] == "missing":
        return f"{where(location)}{name} is missing"
    given = (
        "" if location == () or isinstance(detail["input"], dict) else f", but got {_shown(detail['input'])}"
    )
    message = re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"])
    message = message[:1].lower() + message[1:]
    return f"{where(location)}{name}: {message}{given}" if location else f"{where(location)}{message}"


def _shown(value: object) -> str:
    return mask(f"{value!r:.80}")


def _nearest(location: Location, root: type[BaseModel]) -> str:
    keys = list(_part_at(root, location[:-1]).model_fields)
    close = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(keys)}"


def _part_at(root: type[BaseModel], location: Location) -> type[BaseModel]:
    """Return the part of the configuration at `location`; numbers and names of a table lead nowhere."""
    part = root
    for step in location:
        if step in part.model_fields:
            part = next(_parts(part.model_fields[str(step)].annotation), part)
    return part


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the parts that a field may hold, however they are wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)
