from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from result_factory import result

from groundstream.operators.errors import ConfigError
from groundstream.operators.sinks import open_sink


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "coco"])
def test_urls_of_files_open_their_sink(kind: str, tmp_path: Path) -> None:
    sink = open_sink(f"{kind}:{tmp_path}/{{stream}}.out", "cam-1")
    sink.write(result(3))
    sink.close()
    assert sink.name == kind
    assert [each.name for each in tmp_path.iterdir()] == ["cam-1.out"]
    assert (tmp_path / "cam-1.out").stat().st_size > 10


@pytest.mark.parametrize(
    "url", ["redis://host", "rediss://user:secret@host:7000/2?stream=all&maxlen=10&socket_timeout=3"]
)
def test_urls_of_redis_open_their_sink_without_connecting(url: str) -> None:
    sink = open_sink(url, "cam-1")
    assert sink.name == "redis"
    sink.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("detections.jsonl", "cannot be of the kind 'detections.jsonl'; expected jsonl:FILE"),
        ("json:out", "cannot be of the kind 'json'"),
        ("http://user:secret@host", "cannot be of the kind 'http'"),
        ("csv:", "has no file name"),
        ("redis://:secret@host/0?maxlen=many", "cannot be read"),
        ("redis://:secret@host/0?maxlen=0", "maxlen of at least 1"),
        ("redis://:se/cret@host:7000", "cannot be read"),
        ("redis://:secret@host?colour=red", "cannot be read"),
    ],
)
def test_other_urls_are_refused_in_one_sentence_without_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_sink(url, "cam-1")
    assert said in str(caught.value)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_module_of_a_sink_is_loaded_when_one_is_opened() -> None:
    code = (
        "import sys; from groundstream.operators.sinks import open_sink; open_sink('jsonl:-', 'cam').close();"
        "print({'redis', 'paho', 'supervision', 'av'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
