"""A Ray cluster: joined where there is an address, else started on this machine and ended with the run.

A token decides who may ask a cluster to run code; it is never shown.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from groundstream.operators.errors import ClusterError
from groundstream.operators.urls import mask
from groundstream.pipeline.config.run import RayConfig

OBJECT_STORE_BYTES = 512 * 2**20  # for pictures on their way to a detector; pages are taken when used
#: Pictures that were answered leave the store at once, not by the hundred: those that lie there count in
#: the memory of the stream that sent them, 50 MB at 416x416, 190 MB at 800x800.
SYSTEM = {"free_objects_batch_size": 1}
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
KNOCK_S = 10.0  # patience with the head of a cluster

Welcome = Literal["welcome", "token", "silence"]

_folders: set[Path] = set()  #: of clusters that this process has started and not yet ended

_KNOCK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


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

        address = _address(config)
        if ray.is_initialized():  # the program around us has joined a cluster
            return
        try:
            with _handler_kept():
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
            with _handler_kept():
                ray.shutdown()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._folder is not None:
            _remove(self._folder)
            _folders.discard(self._folder)

    def _start(self, config: RayConfig, cpus: float) -> None:
        import ray

        # Unix sockets lie below it, whose paths may have 107 bytes at most: TMPDIR is often too long.
        self._folder = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
        _folders.add(self._folder)
        if not has_token():
            os.environ[TOKEN] = secrets.token_hex(32)
        _read_access_anew()
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
            _read_access_anew()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def starts_here(config: RayConfig) -> bool:
    """Tell whether a cluster would be started on this machine, not joined."""
    import ray

    return _address(config) is None and not ray.is_initialized()


def abandon() -> None:
    """End the clusters that this process is starting at once, and remove what they have left.

    For a process that exits right after it, without anything else of Python or of Ray (`os._exit`): Ray's
    own shutdown takes long, and crashes where the start was cut short. May be called in a signal handler.
    """
    for process in _processes_below(os.getpid()):
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
    for folder in tuple(_folders):
        _remove(folder)


def has_token() -> bool:
    """Tell whether the user has a token, in one of the places where Ray looks for it."""
    given = os.environ.get(TOKEN) or os.environ.get(TOKEN_PATH)
    return bool(given) or (Path.home() / ".ray" / "auth_token").is_file()


def mode_for(address: str) -> str | None:
    """Return the authentication mode in which the cluster at `address` takes us; None where Ray sees to it.

    Ray itself sends the user's token only where it is told to, and a cluster that asks for none does not
    work with one that is sent.

    Raises:
        ConnectionError: nothing answers there, or it refuses the token or its absence.
    """
    if address == "auto":
        return None
    modes = ["disabled", "token"] if has_token() else ["disabled"]
    modes = [os.environ[MODE]] if MODE in os.environ else modes
    for mode in modes:
        welcome = knock(address, mode)
        if welcome == "welcome":
            return mode
        if welcome == "silence":
            raise ConnectionError("no Ray cluster answers there")
    if modes[-1] == "token":
        raise ConnectionError("it refuses the token that was sent")
    raise ConnectionError(f"it asks for a token; name its file in {TOKEN_PATH}")


def knock(address: str, mode: str) -> Welcome:
    """Try to reach the head of a cluster in a process of its own: Ray tries for long and fills the screen."""
    process = subprocess.Popen(  # noqa: S603 -- the address is an argument, not code
        [sys.executable, "-c", _KNOCK, address],
        env=os.environ | {MODE: mode},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = threading.Timer(KNOCK_S, process.kill)
    patience.start()
    with process:
        assert process.stderr is not None
        refused = any("Unauthenticated" in line for line in process.stderr)
        process.kill()
    patience.cancel()
    if refused:
        return "token"
    return "welcome" if process.returncode == 0 else "silence"


def _read_access_anew() -> None:
    """Have Ray read mode and token from the environment again.

    It does so once in a process, and keeps them: without this the second cluster that a process starts, or
    joins, is asked with the token of the first, and refuses ("Failed to start GCS").
    """
    import ray

    ray._raylet.Config.initialize("")  # type: ignore[attr-defined]
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


def _address(config: RayConfig) -> str | None:
    return config.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def _handler_kept() -> Iterator[None]:
    """Keep the program's handler of SIGTERM, where it has one.

    `ray.init` puts two in its place: one in Python that exits with code 15, and, with the last thing that
    it does, one in C++ that writes a dump and aborts. `ray.shutdown` then sets the default.
    """
    import ray._private.utils as utils

    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    rays, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = rays
        signal.signal(signal.SIGTERM, handler)


def _processes_below(parent: int) -> list[int]:
    """Return children, their children and so on, parents first. Where there is no /proc: none; Ray's end
    by themselves soon after this one."""
    children: list[int] = []
    with suppress(OSError):  # the process has ended meanwhile
        for task in Path(f"/proc/{parent}/task").iterdir():
            with suppress(OSError):  # the thread has
                children += map(int, (task / "children").read_text().split())
    return children + [each for child in children for each in _processes_below(child)]


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
