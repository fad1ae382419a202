"""Events, clips and recordings of a stream: what is emitted, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from groundstream.operators.clips.settings import ClipMode, ClipSettings
from groundstream.operators.events.rules import TABLES, StreamRules
from groundstream.operators.urls import shown
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
            f"{table}: expected each by its name, as `{table}: {{gate: {{...}}}}`, but got {shown(rows)}"
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
    """Make clips of `events`, `always` (an unbroken chain), or `none`."""

    pre_s: Seconds = ClipSettings.pre_s
    """Seconds of video before the event in a clip."""

    post_s: Seconds = ClipSettings.post_s
    """Seconds of video after the event in a clip."""

    longest_s: Annotated[float, Field(ge=1)] = ClipSettings.longest_s
    """Split a clip into a further part after this many seconds."""

    pre_mb: AboveZero = 64.0
    """Memory per stream for the compressed video before an event, in MB."""


class RecordingConfig(Strict):
    """Keeping the source's whole video, in files: `recording: true`, or the keys here."""

    segment_s: AboveZero = 60.0
    """Length of one file of a recording, in seconds."""

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
    """Keep at most this many GB of video per stream; the oldest is deleted first."""

    days: AboveZero | None = None
    """Delete recordings and clips after this many days."""
