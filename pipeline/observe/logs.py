"""Logging through the standard library: one named logger per stream, secrets masked, libraries quiet."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from typing import Literal

from groundstream.operators.urls import mask
from groundstream.operators.utils.times import rfc3339

LogFormat = Literal["text", "json"]

_CHATTY = ("transformers", "huggingface_hub", "urllib3", "httpx", "httpcore", "libav", "PIL", "matplotlib")


def set_up_logging(level: str = "warning", log_format: LogFormat = "text") -> None:
    """Send groundstream's log to standard error; other libraries only speak of errors.

    Raises:
        ValueError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"expected a log level of debug, info, warning, error, but got {level!r}")
    handler = _ToStandardError()
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    ours = logging.getLogger("groundstream")
    ours.handlers[:] = [handler]
    ours.setLevel(number)
    ours.propagate = False
    hush_libraries()


def hush_libraries() -> None:
    """Silence progress bars, advice and warnings of libraries; their errors still speak."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


class _ToStandardError(logging.Handler):
    """Writes to what standard error is at the moment: a progress display redirects it to stay whole."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the error's trace if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
