"""What is told of a stream, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from groundstream.operators.clips.settings import ClipMode, ClipSettings
from groundstream.operators.events.rules import TABLES, StreamRules
from groundstream.pipeline.config.base import AboveZero, Seconds, Strict


def rows_with_names(rules: Any) -> Any:
    """Return rules as they are written in the shape that `StreamRules` has.

    A file has rows of a table by name (`zones: {gate: {...}}`), the rules as values that know their names.

    Raises:
        ValueError: the rows of a table are not told apart by names, or one says its name twice.
    """
    if not isinstance(rules, Mapping):
        return rules
    return {key: _rows(key, value) if key in TABLES else value for key, value in rules.items()}


def _rows(table: str, rows: Any) -> Any:
    if not isinstance(rows, Mapping):
        raise ValueError(
            f"{table}: expected each by its name, as `{table}: {{gate: {{...}}}}`, but got {rows!r:.60}"
        )
    for name, row in rows.items():
        if isinstance(row, Mapping) and "name" in row:
            raise ValueError(
                f"{table}: unknown key 'name' in {name!r}; the word before the colon is its name"
            )
    return [{**row, "name": name} if isinstance(row, Mapping) else row for name, row in rows.items()]


#: The operators' own values, made and checked from a mapping as a file has it.
Rules = Annotated[StreamRules, BeforeValidator(rows_with_names)]


class ClipsConfig(Strict):
    """Which clips are made, and how much of a stream they hold."""

    main_key: ClassVar = "mode"

    mode: Literal[ClipMode, "none"] = "none"
    """Make clips of events, always (one after the other), or none."""

    pre_s: Seconds = ClipSettings.pre_s
    """Seconds that a clip shows before its event."""

    post_s: Seconds = ClipSettings.post_s
    """Seconds that a clip shows after its event."""

    longest_s: AboveZero = ClipSettings.longest_s
    """A clip goes on in a further one after so many seconds."""

    pre_mb: AboveZero = 64.0
    """Compressed video of a stream that is held in memory for the seconds before an event, in MB."""


class RecordingConfig(Strict):
    """Keeping the source's whole video, in files: `recording: true`, or the keys here."""

    segment_s: AboveZero = 60.0
    """Seconds in one file of a recording."""

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """Return true as a part without keys and false as none: whoever names a key wants to record."""
        return ({} if value else None) if isinstance(value, bool) else value

    @model_validator(mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (True in value or "on" in value):
            raise ValueError(
                "`on` is no key (YAML reads it as true); write `recording: true`, `recording: false`, or "
                "what differs alone, as `recording: {segment_s: 60}`"
            )
        return value


class KeepConfig(Strict):
    """How much of recordings and clips is kept of each stream; the oldest goes first."""

    keyword: ClassVar = "keep_{key}"

    gb: AboveZero | None = None
    """Keep so many GB of video of a stream; the oldest goes first."""

    days: AboveZero | None = None
    """Keep recordings and clips for so many days."""
