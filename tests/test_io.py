"""`groundstream.io`: what is public, and that its page's examples run."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from event_factory import event
from result_factory import result, results, with_objects

from groundstream import io
from groundstream.operators.records import record
from groundstream.operators.sinks.record_files import JsonlSink

PAGE = (Path(__file__).parent.parent / "docs" / "io.md").read_text(encoding="utf-8")


def test_public_names_exist_and_say_what_they_are() -> None:
    for name in io.__all__:
        assert getattr(io, name).__doc__
    assert sorted(name for names in io._HOMES.values() for name in names) == io.__all__
    with pytest.raises(AttributeError, match=r"groundstream\.io' has no attribute 'nonsense'"):
        _ = io.nonsense


def test_every_function_is_on_the_page() -> None:
    functions = [name for name in io.__all__ if name[0].islower() and name != "event_record"]
    assert [name for name in functions if name not in PAGE] == []


def test_the_import_is_light() -> None:
    code = "import sys, groundstream.io; print([m for m in ('numpy', 'supervision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_pages_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tentative = with_objects(result(2), state="tentative")  # as in the first frame of a real run
    made = [tentative, *results([0, 3, 0, 4])[1:]]
    for name in ("detections", "events"):
        sink = JsonlSink(tmp_path / "out" / f"{name}.jsonl", only=name)  # type: ignore[arg-type]
        for each in made:
            sink.write(each)
        for told in (event(), event("end", 30)):
            sink.write_event(told)
        sink.close()
    monkeypatch.chdir(tmp_path)
    shown, names = StringIO(), dict[str, object]()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    with contextlib.redirect_stdout(shown):
        for block in blocks:
            exec(compile(block, "io.md", "exec"), names)
    lines = shown.getvalue().splitlines()
    assert len(blocks) == 5
    assert len([line for line in lines if line.startswith("0 2023-11-14T22:13:20.250Z ['")]) == 1
    assert "zone_enter end yard cam:1:7" in lines
    assert "2 [1] 4" in lines
    assert "end 狗 ['yard', 'door']" in lines
    assert names["records"] == [record(each) for each in made]
