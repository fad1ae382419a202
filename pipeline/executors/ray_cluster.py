"""A Ray cluster: joined where there is an address, else started on this machine and ended with the run."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path

from groundstream.operators.errors import ClusterError
from groundstream.operators.urls import mask
from groundstream.pipeline.config.run import RayConfig
from groundstream.pipeline.executors.ray_auth import MODE, TOKEN, has_token, mode_for

OBJECT_STORE_BYTES = 512 * 2**20  # for pictures on their way to a detector; pages are taken when used
#: Pictures that were answered leave the store at once, not by the hundred: those that lie there count in
#: the memory of the stream that sent them, 50 MB at 416x416, 190 MB at 800x800.
SYSTEM = {"free_objects_batch_size": 1}


class RayCluster:
    """A connection to Ray; `close` gives it back.

    Where a cluster is started, it gets a token of its own unless the user has one: nobody else on the
    machine or the network can ask it to run code. Nothing of Ray is printed but what went wrong.

    Args:
        config: what is asked of Ray.
        cpus: processors that actors will reserve; a cluster that is started declares at least so many.

    Raises:
        ClusterError: no cluster can be started or joined.
    """

    def __init__(self, config: RayConfig, cpus: float) -> None:
        self._folder: Path | None = None
        self._environment = {name: os.environ.get(name) for name in (MODE, TOKEN)}
        self._ours = False
        import ray

        address = config.address or os.environ.get("RAY_ADDRESS")
        if ray.is_initialized():  # the program around us has joined a cluster
            return
        try:
            self._join(address) if address else self._start(config, cpus)
        except Exception as error:
            self.close()
            raise ClusterError(_sentence(error, address)) from None
        self._ours = True
        _print_nothing()

    def close(self) -> None:
        """Leave the cluster, end one that was started here; may be called twice."""
        if self._ours:
            import ray

            self._ours = False
            ray.shutdown()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._folder is not None:
            _remove(self._folder)

    def _start(self, config: RayConfig, cpus: float) -> None:
        import ray

        # Unix sockets lie below it, whose paths may have 107 bytes at most: TMPDIR is often too long.
        self._folder = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
        if not has_token():
            os.environ[TOKEN] = secrets.token_hex(32)
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=config.dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(self._folder),
            _system_config=SYSTEM,
        )

    def _join(self, address: str) -> None:
        import ray

        mode = mode_for(address)
        if mode is not None:
            os.environ[MODE] = mode
            # Ray reads it once; an earlier cluster of this process may have asked for something else.
            ray._raylet.Config.initialize("")  # type: ignore[attr-defined]
            ray._raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def _remove(folder: Path) -> None:
    """Remove what a cluster has left; its processes write a last word while they end."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _print_nothing() -> None:
    """Keep Ray's reports of processes that died off standard output, where records may go.

    They are told by our own log. There is no public switch; `ray.util.rpdb` uses the same one.
    """
    import ray._private.worker as worker

    worker._worker_logs_enabled = False


def _sentence(error: Exception, address: str | None) -> str:
    words = mask(str(error).strip().partition("\n")[0])
    if address is None:
        return f"Ray cannot be started on this machine: {words}; use --executor local to do without it"
    return f"the Ray cluster at {mask(address)} cannot be joined: {words}"
