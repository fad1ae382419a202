import json
import logging
from collections.abc import Iterator

import pytest

from groundstream.pipeline.observe.logs import set_up_logging


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    ours = logging.getLogger("groundstream")
    before = (list(ours.handlers), ours.level, ours.propagate)
    yield
    ours.handlers[:], ours.propagate = before[0], before[2]
    ours.setLevel(before[1])


def test_json_lines_carry_the_stream_and_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    logging.getLogger("groundstream.stream.door").warning("lost %s", "rtsp://viewer:s3cret@cam/door")
    try:
        raise OSError("rtsp://viewer:s3cret@cam/door is away")
    except OSError:
        logging.getLogger("groundstream.stream.door").exception("odd")
    shown = capsys.readouterr().err
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["logger"] for line in lines] == ["groundstream.stream.door"] * 2
    assert lines[0]["level"] == "warning"
    assert "rtsp://***@cam/door" in lines[0]["message"]
    assert "OSError" in lines[1]["error"]
    assert "s3cret" not in shown


def test_only_warnings_speak_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    logging.getLogger("groundstream.pipeline").info("quiet")
    logging.getLogger("groundstream.pipeline").warning("loud")
    logging.getLogger("huggingface_hub").warning("chatter")
    shown = capsys.readouterr().err
    assert "loud" in shown
    assert "quiet" not in shown
    assert "chatter" not in shown


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="debug, info, warning, error, but got 'loud'"):
        set_up_logging("loud")
