"""Whether a Ray cluster can be joined, and whether it wants a token. The token itself is never shown."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PATIENCE_S = 10.0

Welcome = Literal["welcome", "token", "silence"]

_KNOCK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


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
    patience = threading.Timer(PATIENCE_S, process.kill)
    patience.start()
    with process:
        assert process.stderr is not None
        refused = any("Unauthenticated" in line for line in process.stderr)
        process.kill()
    patience.cancel()
    if refused:
        return "token"
    return "welcome" if process.returncode == 0 else "silence"
