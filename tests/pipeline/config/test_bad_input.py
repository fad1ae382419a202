from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from coloured import call, groundstream, make_coloured, records_of, times_of


def text_called_video(folder: Path) -> list[object]:
    (folder / "notes.mp4").write_text("this is no video\n" * 100)
    return [folder / "notes.mp4", "-q", "dog"]


def empty_file(folder: Path) -> list[object]:
    (folder / "empty.mp4").touch()
    return [folder / "empty.mp4", "-q", "dog"]


def empty_folder(folder: Path) -> list[object]:
    (folder / "images").mkdir()
    return [folder / "images", "-q", "dog"]


def sound_only(folder: Path) -> list[object]:
    with av.open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return [folder / "sound.mp4", "-q", "dog"]


def clip_and(*arguments: object) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        return [make_coloured(folder / "clip.mp4", frames=5), *arguments]

    return make


def missing(folder: Path) -> list[object]:
    make_coloured(folder / "monday.mp4", frames=2)
    return [folder / "mondey.mp4", "-q", "dog"]


def phrase_file_without_phrases(folder: Path) -> list[object]:
    (folder / "phrases.txt").write_text("# nothing\n\n")
    return [make_coloured(folder / "clip.mp4", frames=2), "--phrases-file", folder / "phrases.txt"]


def output_is_a_file(folder: Path) -> list[object]:
    (folder / "taken").touch()
    return [make_coloured(folder / "clip.mp4", frames=2), "-q", "dog", "--out", folder / "taken"]


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (missing, 3, "there is no such file; did you mean"),
        (empty_folder, 3, "image"),
        (text_called_video, 3, "not a video"),
        (empty_file, 3, "empty"),
        (sound_only, 3, "video"),
        (clip_and(), 2, "no phrase given"),
        (clip_and("-q", ""), 2, "phrase 1 is empty"),
        (clip_and("-q", "dog", "--fps", 0), 2, "--fps must be a number greater than 0"),
        (clip_and("-q", "dog", "--fps", "abc"), 2, "--fps: input should be a valid number, but got 'abc'\n"),
        (
            clip_and("-q", "dog", "--batch", 1.5),
            2,
            "--batch: input should be a valid integer, but got '1.5'\n",
        ),
        (clip_and("-q", "dog", "--score", 2), 2, "--score: input should be less than or equal to 1"),
        (clip_and("-q", "dog", "--tracker", "sort"), 2, "--tracker: input should be 'bytetrack'"),
        (clip_and("-q", "dog", "--start", 99), 3, "99"),
        (clip_and("-q", "dog", "--start", 3, "--end", 2), 2, "--end must be later than --start"),
        (clip_and("-q", "dog", "--batch", 0), 2, "--batch: input should be greater than or equal to 1"),
        (clip_and("-q", "dog", "--clips", "x"), 2, "--clips: input should be 'events', 'always' or 'none'"),
        (clip_and("-q", "dog", "--metrics-port", -1), 2, "--metrics-port: input should be greater than"),
        (clip_and("-q", "dog", "--keep-gb", 0), 2, "--keep-gb: input should be greater than 0"),
        (clip_and("-q", "dog", "--segment", 0), 2, "--segment: input should be greater than 0"),
        (clip_and("-q", "dog", "--name", "a/b"), 2, "--name: expected a name without spaces, colons and"),
        (
            clip_and("-q", "dog", "--executor", "local", "--ray-address", "head:6379"),
            2,
            "--executor 'local' runs in one process; leave it or --ray-address out",
        ),
        (clip_and("-q", "dog", "--hwaccel", "magic"), 2, "magic"),
        (clip_and("-q", "dog", "--model", "fale"), 4, "did you mean fake?"),
        (clip_and("-q", "dog", "--model", "someone/no-such-model"), 4, "hf download someone/no-such-model"),
        (clip_and("-q", "dog", "--sink", "xml:out.xml"), 2, "an output cannot be of the kind 'xml'"),
        (clip_and("-q", "dog", "--sink", "jsonl:/dev/full"), 5, "the disk is full"),
        (clip_and("-q", "dog", "--sink", "redis://u:secret@127.0.0.1:1/x?maxlen=y"), 2, "Redis URL"),
        (clip_and("-q", "dog", "--text-cache", "redis://u:secret@host:port"), 2, "Redis URL cannot be read"),
        (clip_and("-q", "dog", "--out", "/proc/nothing"), 5, "cannot make the output folder"),
        (output_is_a_file, 5, "cannot make the output folder"),
        (phrase_file_without_phrases, 2, "no phrase given"),
        (lambda _: ["-q", "dog"], 2, "no source given"),
        (lambda _: ["--config", "nowhere.yaml"], 2, "cannot read the configuration nowhere.yaml"),
        (lambda _: ["rtps://u:secret@camera/x", "-q", "dog"], 3, "did you mean rtsps://?"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], list[object]],
    code: int,
    words: str,
) -> None:
    arguments = make(tmp_path)
    text = [str(argument) for argument in arguments]
    extra = [] if "--model" in text else ["--model", "fake"]
    extra += [] if "--out" in text or "--sink" in text else ["--out", tmp_path / "out"]
    extra += [] if "--text-cache" in text else ["--text-cache", "none"]
    done = call(capsys, "run", *arguments, *extra, "--quiet")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    whole = make_coloured(tmp_path / "whole.ts", frames=60)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = groundstream(
        "run", cut, "-q", "red car", "--model", "fake", "--text-cache", "none", "--out", tmp_path / "o"
    )
    assert done.returncode == 0, done.stderr
    records = records_of(tmp_path / "o" / "detections.jsonl")
    assert 10 < len(records) < 60
    assert len(times_of(tmp_path / "o" / "annotated.mp4")) == len(records)


@pytest.mark.slow
def test_one_bad_file_hinders_no_other(tmp_path: Path) -> None:
    good = make_coloured(tmp_path / "good.mp4", frames=10)
    done = groundstream(
        *("run", tmp_path / "bad.mp4", good, "-q", "red car", "--model", "fake", "--text-cache", "none"),
        *("--executor", "local", "--out", tmp_path / "o"),
    )
    assert done.returncode == 3
    assert "bad.mp4: there is no such file" in done.stderr
    assert len(records_of(tmp_path / "o" / "good" / "detections.jsonl")) == 10


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_written(tmp_path: Path, full_disk: Path) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", frames=600)
    done = groundstream(
        *("run", clip, "-q", "red car", "--model", "fake", "--text-cache", "none", "--out", full_disk / "o"),
    )
    assert done.returncode == 5, done.stderr
    assert "the disk is full" in done.stderr or "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(records_of(full_disk / "o" / "detections.jsonl")) > 10


@pytest.fixture
def full_disk(tmp_path: Path):
    import subprocess

    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot make a small disk: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)
