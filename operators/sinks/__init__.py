"""Where results and events go: files (`record_files`, `coco`, `video`) and servers.

`open_sink` opens one by its URL, a `SinkWorker` runs it in a thread of its own; `delivery` stands between the
sinks of servers and a server that is away; `resume` says where the files of a process that died go on.
"""

from groundstream.operators.sinks.base import ReaderGone, Sink
from groundstream.operators.sinks.open import (
    file_of,
    is_standard_output,
    open_sink,
    takes_events_only,
    writes_file,
)
from groundstream.operators.sinks.worker import SinkWorker, WorkerCounters

__all__ = [
    "ReaderGone",
    "Sink",
    "SinkWorker",
    "WorkerCounters",
    "file_of",
    "is_standard_output",
    "open_sink",
    "takes_events_only",
    "writes_file",
]
