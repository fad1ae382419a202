"""Errors that a user can do something about.

    GroundstreamError
    ├── ConfigError            a wrong option or configuration file
    ├── SourceError            a video that cannot be read; `.reason` names why
    ├── ModelError             a model that cannot be had or does not fit
    ├── DetectorUnavailable    no answer from a detector (never the same as an empty answer)
    ├── OutputError            a place that cannot be written
    └── ClusterError           a Ray cluster that cannot be started or joined, or has too little room

Every message is one sentence that says what was given, what was expected and what to do. `exit_code`
is what the command line ends with.
"""

from __future__ import annotations

from enum import StrEnum

from groundstream.models.errors import GroundstreamError, ModelError

__all__ = [
    "ClusterError",
    "ConfigError",
    "DetectorUnavailable",
    "GroundstreamError",
    "ModelError",
    "OutputError",
    "Reason",
    "SourceError",
]


class Reason(StrEnum):
    """Why a source failed."""

    NOT_FOUND = "not_found"
    REFUSED = "refused"
    AUTHENTICATION = "authentication"
    DNS = "dns"
    TLS = "tls"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    NO_VIDEO = "no_video_stream"
    DECODE = "decode_errors"
    INVALID = "invalid_data"
    PERMISSION = "permission"
    ENDED = "ended"
    OTHER = "other"


class ConfigError(GroundstreamError):
    """An option or a configuration file is wrong."""

    exit_code = 2


class SourceError(GroundstreamError):
    """A source cannot be read."""

    exit_code = 3

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, Reason]]:
        return type(self), (str(self), self.reason)  # errors cross process borders


class OutputError(GroundstreamError):
    """A result cannot be written."""

    exit_code = 5


class DetectorUnavailable(GroundstreamError):  # noqa: N818 -- the field says it so
    """The detector gave no answer; the frame's result is stale, not empty."""

    exit_code = 6


class ClusterError(GroundstreamError):
    """A Ray cluster cannot be started or joined, or has too little room."""

    exit_code = 7
