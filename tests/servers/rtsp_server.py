"""A real RTSP server for tests: gst-rtsp-server, driven by the system's Python in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ports import free_port

SYSTEM_PYTHON = "/usr/bin/python3"
#: A clip in MPEG-TS, over and over, in real time.
LOOP = (
    "( multifilesrc location={clip} loop=true ! tsdemux ! h264parse config-interval=-1 "
    "! rtph264pay name=pay0 pt=96 )"
)
#: A clip in MP4, once, in real time; then the stream ends.
ONCE = "( filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 )"


class RtspServer:
    """A server at `rtsp://127.0.0.1:PORT/cam`; it can be stopped, killed and started again on its port."""

    def __init__(
        self, clip: Path, *, launch: str = LOOP, user: str = "", password: str = "", certificate: str = ""
    ) -> None:
        """Take the clip, how it is served, to whom, and for TLS a PEM file with key and certificate."""
        self.port = free_port()
        self.certificate = certificate
        self.user, self.password = user, password
        self.clip, self._launch = clip, launch
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The camera's address with its credentials."""
        return self.url_as(self.user, self.password)

    def url_as(self, user: str, password: str) -> str:
        """Return the camera's address for another user."""
        who = f"{user}:{password}@" if user else ""
        return f"rtsp{'s' if self.certificate else ''}://{who}127.0.0.1:{self.port}/cam"

    def start(self, clip: Path | None = None) -> None:
        """Start the server (again), with another clip where one is given, and wait until it listens."""
        import pytest

        self.clip = clip or self.clip
        command = [SYSTEM_PYTHON, __file__, str(self.port), self._launch.format(clip=self.clip)]
        command += [self.user, self.password, self.certificate]
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError:
            words = f"there is no {SYSTEM_PYTHON}"
        else:
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            if self._process.stdout.readline().strip() == "ready":
                return
            words = self._process.stderr.read().strip().rpartition("\n")[2]
            self.kill()
        assert os.environ.get("CI") != "true", f"no RTSP server: {words}; run tests/servers/install.sh"
        pytest.skip(f"no RTSP server: {words}")

    def pause(self) -> None:
        """Let the server hang (SIGSTOP): connections stay open, nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the server go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(port: str, launch: str, user: str, password: str, certificate: str) -> None:
    """Serve `launch` at /cam until killed; runs in the system's Python."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import Gio, GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch)
    factory.set_shared(True)
    access = GstRtspServer.RTSPAuth()
    if certificate:
        access.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
        server.set_auth(access)
    if user:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        access.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(access)
        role = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        factory.add_role_from_structure(Gst.Structure.from_string(role)[0])
    server.get_mount_points().add_factory("/cam", factory)
    assert server.attach(None), f"port {port} is taken"
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
