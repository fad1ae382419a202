"""`groundstream adapt` and `groundstream eval temporal` from the command line."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from coloured import call

from groundstream.models.registry import load_grounder
from groundstream.models.temporal.file import load_adapter

DEMO = Path(__file__).parents[3] / "configs" / "demo" / "street.mp4"


@pytest.fixture(scope="module")
def empty_street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a wall, in which nothing is found."""
    import av

    path = tmp_path_factory.mktemp("video") / "wall.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for level in range(72):
            picture = np.full((96, 128, 3), 60 + level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_an_adapter_without_gain_is_not_saved(
    tmp_path: Path, empty_street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapter.safetensors"
    done = call(capsys, "adapt", empty_street, "--out", out, "--steps", "1")
    assert done.returncode == 8, done.stderr
    assert "the adapter is not saved: the model is sure of nothing" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_an_adapter_that_gains_is_saved_and_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "adapter.safetensors"
    done = call(capsys, "adapt", DEMO, "--out", out, "--steps", "2", "-q", "person", "-q", "truck")
    assert done.returncode == 0, done.stderr
    assert "AP50 on spoiled frames" in done.stdout
    adapter = load_adapter(str(out), load_grounder("glip-nano", device="cpu"))
    assert adapter.name.startswith("cta-")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_to_be_one(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    done = call(capsys, "adapt", DEMO, "--out", tmp_path / "adapter.safetensors", "--steps", "1")
    assert done.returncode == 5, done.stderr
    assert f"in {small_disk}: No space left on device" in done.stderr
    assert not [*small_disk.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("adapt", "nothing.mp4", "--out", "{tmp}/a"), 3, "nothing.mp4 does not exist"),
        (("adapt", __file__, "--out", "{tmp}/a"), 3, "cannot be read as a video"),
        (("adapt", DEMO, "--out", "{tmp}/no/a"), 5, "does not exist; make it"),
        (("adapt", DEMO, "--out", "{tmp}"), 5, "exists already"),
        (("adapt", DEMO, "--out", "{tmp}/a", "--steps", "0"), 2, "at least one step"),
        (("adapt", DEMO, "--out", "{tmp}/a", "--model", "fake"), 4, "no features that an adapter"),
        (("eval", "temporal", "--adapter", "nowhere"), 4, "unknown adapter 'nowhere'"),
        (("eval", "temporal", "--bank", "{tmp}"), 2, "no sprite bank"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    code: int,
    words: str,
) -> None:
    done = call(capsys, *(str(part).format(tmp=tmp_path) for part in arguments))
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_evaluation_runs_on_the_demo_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    done = call(capsys, "eval", "temporal", DEMO, "--clips", "1", "--start", "5", "--out", out)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "temporal.json").read_text())["real"]
    numbers, gains = content["table"], content["gains"]
    assert set(numbers) == {"none", "ema", "score ema", "cta"}
    assert numbers["none"]["clean"] == pytest.approx(100)
    gain, low, high = gains["spoiled"]["cta"]
    assert gain == pytest.approx(numbers["cta"]["spoiled"] - numbers["none"]["spoiled"])
    assert gain > 0
    assert low <= gain <= high
    assert np.isnan(gains["fast"]["cta"]).all()  # a real clip has no speed that is known
    assert (out / "temporal.png").stat().st_size > 1000
