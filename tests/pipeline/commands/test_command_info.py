from pathlib import Path

import pytest
from coloured import call


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "doctor", "--text-cache", "redis://u:s3cret@127.0.0.1:1/0")
    assert done.returncode == 0
    for word in ("python", "torch", "dtype", "av", "h264", "libx264", "not reachable", "glip-nano"):
        assert word in done.stdout
    assert "s3cret" not in done.stdout


def test_models_lists_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    shown = call(capsys, "models").stdout
    for name in ("glip-nano", "fake", "glip-t", "IDEA-Research/grounding-dino-tiny", "google/owlv2"):
        assert name in shown


def test_check_says_good_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("streams: [rtsp://u:s3cret@cam/door]\nphrases: [dog, cat]\n")
    done = call(capsys, "check", path)
    assert done.returncode == 0
    assert "cam-door: rtsp://***@cam/door <- dog, cat" in done.stdout
    path.write_text("streams: [a.mp4]\nphrases: [dog]\nmodle: {}\n")
    done = call(capsys, "check", path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "line 3: unknown key 'modle'; did you mean 'model'?" in done.stderr


def test_convert_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pth").write_text("no checkpoint")
    done = call(capsys, "models", "convert", tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "a.pth" in done.stderr
