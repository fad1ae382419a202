"""What every output is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult


class Sink(ABC):
    """A place that results and events go to; called from one thread only, but for its counters.

    Attributes:
        name: what it is called in messages and counters.
        needs_picture: whether results keep their pictures on the way; else `result.frame.picture` is None.
    """

    name: str
    needs_picture: ClassVar[bool] = False

    @property
    def pending(self) -> int:
        """Results and events that were taken but that are not at their place yet."""
        return 0

    @property
    def dropped(self) -> int:
        """Results and events that were taken and that had to be given up."""
        return 0

    @abstractmethod
    def write(self, result: FrameResult) -> None:
        """Write one result.

        Raises:
            OutputError: it cannot be written; what was written before is kept.
        """

    def write_event(self, event: Event) -> None:  # noqa: B027 -- most formats know only detections
        """Write one message about an event; formats that know only detections pass it over.

        Raises:
            OutputError: it cannot be written; what was written before is kept.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what was written; may be called twice.

        Raises:
            OutputError: it cannot be finished.
        """


class ReaderGone(OutputError):  # noqa: N818 -- it is no error of ours: `... | head` ends like this
    """The program that read the output has ended; there is nobody to write for."""

    exit_code = 0
