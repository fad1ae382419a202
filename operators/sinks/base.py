"""What every output is, and the base of those that write records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult


class Sink(Protocol):
    """A place that results and events go to; called from one thread only.

    Attributes:
        name: what it is called in messages and counters.
    """

    name: str

    def write(self, result: FrameResult) -> None:
        """Write one result.

        Raises:
            OutputError: it cannot be written; what was written before is kept.
        """

    def write_event(self, event: Event) -> None:
        """Write one message about an event, or nothing where the place has no room for events.

        Raises:
            OutputError: it cannot be written; what was written before is kept.
        """

    def close(self) -> None:
        """Finish what was written; may be called twice.

        Raises:
            OutputError: it cannot be finished.
        """


class RecordSink(ABC):
    """A sink that needs what was found and not the picture.

    Attributes:
        name: what it is called in messages and counters.
        pending: results and events that were taken but that are not at their place yet.
        dropped: results and events that were taken and that had to be given up.
    """

    name: str

    @property
    def pending(self) -> int:
        """Nothing, unless a sink has something to wait for."""
        return 0

    @property
    def dropped(self) -> int:
        """Nothing, unless a sink may give up what it has taken."""
        return 0

    @abstractmethod
    def write(self, result: FrameResult) -> None:
        """Write one result, whose picture may be no more than its size."""

    def write_event(self, event: Event) -> None:  # noqa: B027 -- most formats know only detections
        """Write one message about an event; formats that know only detections pass it over."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was written; may be called twice."""


class ReaderGone(OutputError):  # noqa: N818 -- it is no error of ours: `... | head` ends like this
    """The program that read the output has ended; there is nobody to write for."""

    exit_code = 0
