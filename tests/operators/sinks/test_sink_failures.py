"""What outputs do when the place, the reader or the process goes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from result_factory import results

from groundstream.operators.errors import OutputError
from groundstream.operators.records import read_records
from groundstream.operators.records.coco import from_coco
from groundstream.operators.sinks.base import ReaderGone, Sink
from groundstream.operators.sinks.coco import CocoSink, finish_coco
from groundstream.operators.sinks.record_files import STDOUT, CsvSink, JsonlSink, MotSink, RecordFile

SINKS = [JsonlSink, CsvSink, MotSink, CocoSink]
MakeSink = Callable[[Path], Sink]


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own in `folder`; for root only."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made, for root either."""
    folder = tmp_path / "read-only"
    if os.geteuid() == 0:
        with mounted(folder, "ro,size=64k"):
            yield folder
    else:
        folder.mkdir(mode=0o500)
        yield folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "size=64k") as folder:
        yield folder


# ---- standard output

TO_STDOUT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from result_factory import result
from groundstream.operators.sinks import SinkWorker, open_sink
def report(name, error):
    sys.stderr.write(f"{type(error).__name__} {error}\\n")
workers = [
    SinkWorker(open_sink("jsonl:-", stream), capacity=8, when_full="block", on_error=report)
    for stream in ("one", "two")
]
for seq in range(int(sys.argv[2])):
    for stream, worker in zip(("one", "two"), workers):
        worker.put(result(30, seq=seq, stream=stream))
for worker in workers:
    worker.close()
"""


def run_to_stdout(count: int, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", TO_STDOUT, str(Path(__file__).parents[1]), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def test_streams_that_share_standard_output_write_whole_lines() -> None:
    child = run_to_stdout(100)
    output, errors = child.communicate(timeout=60)
    seqs: dict[str, list[int]] = {"one": [], "two": []}
    for line in output.splitlines():
        made = json.loads(line)
        seqs[made["stream_id"]].append(made["seq"])
    assert seqs == {"one": list(range(100)), "two": list(range(100))}
    assert (child.returncode, errors) == (0, b"")


def test_a_reader_that_leaves_ends_the_output_quietly() -> None:
    child = run_to_stdout(2000)
    assert child.stdout is not None
    assert child.stderr is not None
    json.loads(child.stdout.readline())
    child.stdout.close()
    errors = child.stderr.read().decode().splitlines()
    child.stderr.close()
    assert child.wait(timeout=60) == 0
    assert errors == ["ReaderGone nobody reads - any more"] * 2


# ---- what goes wrong


@pytest.mark.parametrize("make", SINKS)
def test_a_folder_where_a_file_is_meant_is_one_sentence(make: MakeSink, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"^cannot write {tmp_path}: it is a folder; name a file in it$"):
        make(tmp_path)


@pytest.mark.parametrize("make", SINKS)
def test_a_file_where_a_folder_is_meant_is_one_sentence(make: MakeSink, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for place in ("file/out", "file/deep/out"):
        with pytest.raises(
            OutputError, match=r"^cannot write .*: a part of its path is a file; choose another"
        ):
            make(tmp_path / place)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("make", SINKS)
def test_a_read_only_folder_is_one_sentence(make: MakeSink, read_only: Path) -> None:
    with pytest.raises(
        OutputError, match=r"^cannot write .*/out.*: .*(read-only|permission).*; choose another"
    ):
        make(read_only / "out")


@pytest.mark.parametrize("make", SINKS)
def test_two_writers_of_one_file_are_refused_before_anything_is_lost(make: MakeSink, tmp_path: Path) -> None:
    path = tmp_path / "out"
    first = make(path)
    for each in results([4] * 20):
        first.write(each)
    with pytest.raises(OutputError, match=r"is being written by another stream or run.*\{stream\}"):
        make(path)
    first.close()
    assert path.stat().st_size > 1000
    make(path).close()


def fill(sink: Sink) -> tuple[int, str]:
    """Write until it fails; return how many results were written, and what was said then."""
    for each in results([4] * 5000):
        try:
            sink.write(each)
        except OutputError as error:
            return each.frame.seq, str(error)
    raise AssertionError("the disk is larger than meant")


@pytest.mark.parametrize("make", [JsonlSink, CsvSink, MotSink])
def test_a_disk_that_gets_full_keeps_every_whole_line(make: MakeSink, small_disk: Path) -> None:
    path = small_disk / "out"
    sink = make(path)
    written, said = fill(sink)
    sink.close()
    assert said.startswith(f"cannot write {path}: the disk is full; what was written is kept")
    content = path.read_bytes()
    assert content.endswith(b"\n")
    lines_per_result, header = (1, 0) if make is JsonlSink else (2, make is CsvSink)
    assert content.count(b"\n") - header == written * lines_per_result
    assert len(content) > 50_000


def test_a_disk_that_gets_full_keeps_every_row_of_coco(small_disk: Path, tmp_path: Path) -> None:
    sink = CocoSink(small_disk / "coco.json")
    written, said = fill(sink)
    assert "the disk is full" in said
    with pytest.raises(OutputError, match=r"the disk is full.*all rows are kept in .*coco\.json\.part"):
        sink.close()
    assert [each.name for each in small_disk.iterdir()] == ["coco.json.part"]
    finish_coco(small_disk / "coco.json.part", tmp_path / "coco.json")
    assert len(from_coco(json.loads((tmp_path / "coco.json").read_text()))) == written


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from result_factory import result
from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.record_files import JsonlSink
sink = JsonlSink(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for seq in range(1000):
    try:
        sink.write(result(4, seq=seq))
    except OutputError as error:
        print(seq, error)
        break
"""


def test_a_limit_of_the_file_size_keeps_every_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    command = [sys.executable, "-c", LIMITED, str(Path(__file__).parents[1]), str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    written, _, sentence = said.partition(" ")
    assert sentence.startswith(
        f"cannot write {path}: the file may not grow further; what was written is kept"
    )
    assert [made["seq"] for made in read_records(path)] == list(range(int(written)))
    assert int(written) > 5


def test_an_error_without_a_remedy_of_its_own_is_still_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = RecordFile(tmp_path / "out")
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OutputError, match=r"out: Input/output error; choose another place$"):
        file.write(b"text\n")
    monkeypatch.undo()
    file.close()


def test_a_named_pipe_without_a_reader_is_an_output_that_nobody_reads(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = RecordFile(pipe)
    file.write(b"one\n")
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    with pytest.raises(ReaderGone, match="nobody reads"):
        file.write(b"two\n")
    file.close()


def test_standard_output_is_never_closed() -> None:
    RecordFile(STDOUT).close()
    os.fstat(1)


# ---- kill -9

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from result_factory import result
from groundstream.operators.sinks import SinkWorker, open_sink
def fail(name, error):
    raise error
worker = SinkWorker(open_sink("jsonl:" + sys.argv[2], "cam"), capacity=64, when_full="block", on_error=fail)
seq = 0
while True:
    worker.put(result(5, seq=seq))
    seq += 1
    print(worker.counters.written, flush=True)
"""


@pytest.mark.parametrize("reports", [1, 100, 500])
def test_a_kill_leaves_every_record_that_was_reported_as_written(reports: int, tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parents[1]), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(reports):
            reported = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        whole = [line for line in child.stdout if line.endswith("\n")]
    reported = max([reported, *(int(line) for line in whole)])
    seqs = [made["seq"] for made in read_records(path)]
    assert seqs == list(range(len(seqs)))
    assert len(seqs) >= reported
