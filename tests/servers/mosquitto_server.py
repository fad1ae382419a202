"""A real MQTT broker for tests: Debian's mosquitto."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port
from redis_server import self_signed


def binary(name: str) -> str | None:
    """Return a program's file, also where Debian hides it from users, or None where there is none."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")


class MosquittoServer:
    """A broker on a port of its own that can be killed and started again; it forgets all then.

    Args:
        folder: for its files.
        user: who may connect; anybody may where it is empty.
        password: of the user.
        tls: whether it speaks TLS only; `certificate` is its own authority.
    """

    def __init__(self, folder: Path, *, user: str = "", password: str = "", tls: bool = False) -> None:
        self.port = free_port()
        self.user, self.password = user, password
        self.certificate: Path | None = None
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if user else 'true'}"]
        # Debian's mosquitto becomes another user, who may not read a test's files.
        lines += ["user root"] if os.geteuid() == 0 else []
        if tls:
            key, self.certificate = self_signed(folder)
            lines += [f"certfile {self.certificate}", f"keyfile {key}"]
        if user:
            lines.append(f"password_file {folder / 'passwords'}")
        self._passwords = folder / "passwords"
        self._config.write_text("\n".join([*lines, ""]))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """The broker's address with all that a client needs, without a topic."""
        scheme = "mqtts" if self.certificate else "mqtt"
        who = f"{self.user}:{self.password}@" if self.user else ""
        return f"{scheme}://{who}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the broker (again, on the same port) and wait until it listens."""
        server = binary("mosquitto")
        if server is None and os.environ.get("CI") != "true":
            pytest.skip("no MQTT broker here: mosquitto is not installed")
        assert server, "no MQTT broker: install mosquitto"
        if self.user:
            self._write_passwords()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([server, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the broker did not start: {self._log.read_text()}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Stop the broker (SIGSTOP): connections stay open, nothing is answered; `kill` still ends it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the broker go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the broker at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _write_passwords(self) -> None:
        tool = binary("mosquitto_passwd")
        assert tool, "mosquitto_passwd comes with mosquitto"
        command = [tool, "-b", "-c", str(self._passwords), self.user, self.password]
        subprocess.run(command, check=True, capture_output=True)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
