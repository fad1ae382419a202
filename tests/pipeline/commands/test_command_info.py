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


def test_check_knows_a_file_of_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("zones: {yard: {polygon: [[0, 0], [1, 0], [1, 1]]}}\n")
    done = call(capsys, "check", path)
    assert done.returncode == 0
    assert done.stdout == f"{path}: good rules, a file for --rules; 1 zones, 0 lines, 0 counts\n"
    path.write_text("zones: {yard: {polygn: 3}}\n")
    done = call(capsys, "check", path)
    assert (done.returncode, "did you mean 'polygon'?" in done.stderr) == (2, True)


def test_events_of_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "events", tmp_path / "nowhere")
    assert done.returncode == 2
    assert f"{tmp_path / 'nowhere'} does not exist; give the --out folder of a run" in done.stderr
    assert f"{tmp_path} holds no index; give the --out" in call(capsys, "events", tmp_path).stderr


@pytest.mark.parametrize("command", ["run", "adapt"])
def test_no_old_name_is_suggested(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = call(capsys, command, "x.mp4", "--qeury", "dog")
    assert shown.returncode == 2
    assert "No such option: --qeury" in shown.stderr
    assert "--query" not in shown.stderr
    assert "--phrase" in call(capsys, command, "x.mp4", "--phrsae", "dog").stderr


def test_convert_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pth").write_text("no checkpoint")
    done = call(capsys, "models", "convert", tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "a.pth" in done.stderr
