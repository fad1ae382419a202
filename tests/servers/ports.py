"""Ports for test servers. Only the standard library is imported: the system's Python runs this too."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """Return a port that nobody listens on, below those that the kernel gives to outgoing connections.

    Among the latter somebody else could take it while the server is down for a test.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
