"""A real browser for tests: plays a video in headless Chromium and says what it saw."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

#: A browser takes a second to start on a quiet machine.
PATIENT_S = 120.0

_PAGE = b"""<!doctype html><video id="video" muted></video><script>
const video = document.getElementById("video");
const moments = JSON.parse(decodeURIComponent(location.hash.slice(1)));
let number = 0;
const next = async () => {
  video.onseeked = null;
  URL.revokeObjectURL(video.src);
  const blob = await (await fetch("/" + number)).blob();
  video.src = URL.createObjectURL(blob);
};
const tell = async (seen) => {
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
  number += 1;
  if (number < moments.length) next();
};
const look = (tries) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const red = Array.from(pixels).filter((_, at) => at % 4 == 0);
  // A busy Chromium may say "seeked" before the picture can be drawn; what it draws then is black.
  if (tries < 100 && red.every((value) => value == 0)) return setTimeout(look, 50, tries + 1);
  tell({duration: video.duration, width: canvas.width, height: canvas.height, time: video.currentTime, red});
};
video.onerror = () => tell({error: video.error.message});
video.onloadeddata = () => {
  video.onseeked = () => look(0);
  video.currentTime = moments[number];
};
next();
</script>"""


@dataclass(frozen=True, eq=False)
class Played:
    """What a browser saw of a video.

    Attributes:
        duration_s: its length as the browser reads it.
        time_s: where it looked.
        red: the red channel of the picture there, (H, W) uint8.
    """

    duration_s: float
    time_s: float
    red: NDArray[np.uint8]


def play(path: Path, at_s: float) -> Played:
    """Open `path` in Chromium, go to `at_s` seconds, and return what it shows there."""
    return play_all([path], [at_s])[0]


def play_all(paths: Sequence[Path], at_s: Sequence[float]) -> list[Played]:
    """Open `paths` in one Chromium, one after the other, and return what each shows at its moment."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None and os.environ.get("CI") != "true":
        pytest.skip("no Chromium here")
    assert browser, "no Chromium: install the package chromium"
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    with _serve(paths, answers) as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        url = f"http://127.0.0.1:{server.server_port}/page#{json.dumps(list(at_s), separators=(',', ':'))}"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
        command = [browser, *options, f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                seen = [answers.get(timeout=PATIENT_S) for _ in paths]
            finally:
                process.terminate()
                server.shutdown()
    return [_played(path, each) for path, each in zip(paths, seen, strict=True)]


def _played(path: Path, seen: dict[str, Any]) -> Played:
    assert "error" not in seen, f"{path.name}: Chromium says {seen['error']}"
    shape = (seen["height"], seen["width"])
    return Played(seen["duration"], seen["time"], np.array(seen["red"], np.uint8).reshape(shape))


def _serve(paths: Sequence[Path], answers: queue.Queue[dict[str, Any]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.removeprefix("/").isdigit():
                self._answer("video/mp4", paths[int(self.path[1:])].read_bytes())
            else:
                self._answer("text/html", _PAGE)

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer("text/plain", b"thanks")

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
