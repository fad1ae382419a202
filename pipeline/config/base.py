"""What all parts of a configuration have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Score = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """A part of a configuration: unknown keys are errors, values never change.

    Each field is the one declaration of its key: its docstring is what `--help` and docs/options.md say,
    its type and default are what flags, YAML and Python keywords take.

    Attributes:
        main_key: a part may be written as this value alone: `model: glip-nano`.
        keyword: how a key is called in Python, where keys of all parts stand side by side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    main_key: ClassVar[str | None] = None
    keyword: ClassVar[str] = "{key}"

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """Return what was written for this part as a mapping of keys, where it can be one."""
        if cls.main_key is None or value is None or isinstance(value, Mapping | BaseModel):
            return value
        return {cls.main_key: value}

    @model_validator(mode="before")
    @classmethod
    def _write_out(cls, value: Any) -> Any:
        return cls.written_out(value)
