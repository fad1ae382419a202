import logging
import os
import threading
from pathlib import Path

import pytest

from groundstream.models.types import Prompt
from groundstream.pipeline.config.control import PhraseFile, read_phrases


class Asked:
    """Remembers the prompts that it was given."""

    def __init__(self) -> None:
        self.prompts: list[tuple[str, ...]] = []
        self.more = threading.Event()

    def __call__(self, prompt: Prompt) -> None:
        self.prompts.append(prompt.phrases)
        self.more.set()


def write(path: Path, text: str, version: int) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(version, version))  # a later version, whatever the clock's grain


def test_phrases_are_lines_without_comments(tmp_path: Path) -> None:
    write(tmp_path / "p.txt", "# two things\n\n  red car \n红色汽车\n", 1)
    assert read_phrases(tmp_path / "p.txt").phrases == ("red car", "红色汽车")


def test_a_change_is_handed_on_once(tmp_path: Path) -> None:
    path, asked = tmp_path / "p.txt", Asked()
    file = PhraseFile(path, asked)
    file.check()
    write(path, "dog\n", 1)
    file.check()
    file.check()
    write(path, "cat\n", 2)
    file.check()
    assert asked.prompts == [("dog",), ("cat",)]


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_a_file_without_phrases_changes_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path, asked = tmp_path / "p.txt", Asked()
    file = PhraseFile(path, asked)
    write(path, text, 1)
    with caplog.at_level(logging.WARNING, logger="groundstream.control"):
        file.check()
        file.check()
    assert asked.prompts == []
    assert [record.getMessage().count("are not taken") for record in caplog.records] == [1]


def test_a_file_that_is_not_text_or_not_there_changes_nothing(tmp_path: Path) -> None:
    asked = Asked()
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.txt", tmp_path / "b.txt", tmp_path):
        PhraseFile(path, asked).check()
    assert asked.prompts == []


def test_a_prompt_that_is_refused_does_not_end_the_watching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, asked = tmp_path / "p.txt", Asked()

    def refuse_first(prompt: Prompt) -> None:
        if prompt.phrases == ("too long",):
            raise ValueError("phrase 1 is longer than the model's text limit")
        asked(prompt)

    write(path, "too long\n", 1)
    file = PhraseFile(path, refuse_first)
    file.start()
    write(path, "dog\n", 2)
    assert asked.more.wait(5)
    file.close()
    assert asked.prompts == [("dog",)]
    assert "longer than the model's text limit" in caplog.text
