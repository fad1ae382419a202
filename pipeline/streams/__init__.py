"""One stream: what it is to its owner, how it is put together, and its loop (`worker.StreamWorker.step`).

`StreamRunner` runs it in whichever process; `StreamHost` holds a runner in a process of its own, and
`SupervisedStream` is that stream's owner, who starts the process again when it dies. Nothing here imports
torch.
"""

from groundstream.pipeline.streams.base import Executor, Stream, StreamSpec, StreamView

__all__ = ["Executor", "Stream", "StreamSpec", "StreamView"]
