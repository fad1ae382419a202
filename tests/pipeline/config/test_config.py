from pathlib import Path

import pytest

from groundstream.operators.errors import ConfigError
from groundstream.pipeline.config.run import distinct_ids, load_config, make_config

CONFIGS = Path(__file__).parents[3] / "configs"
GOOD = """
streams:
  - monday.mp4
  - source: rtsp://user:secret@camera/door
    phrases: [cat]
    fps: 5
phrases: [red car, dog]
track:
  lost_s: 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_gives_streams_and_their_own_phrases(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert [config.prompt_for(stream).phrases for stream in config.streams] == [("red car", "dog"), ("cat",)]
    assert config.track.lost_s == 2
    assert "secret" not in "".join(distinct_ids(config.streams))


def test_flags_win_over_the_file_key_by_key(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    config = load_config(path, {"track": {"score": 0.4}, "phrases": ["horse"]})
    assert (config.track.lost_s, config.track.score) == (2, 0.4)
    assert config.phrases == ("horse",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("streams: [a.mp4]\nphrase: [dog]\n", r"line 2: unknown key 'phrase'; did you mean 'phrases'\?"),
        (GOOD + "  trakcer: ocsort\n", r"line 10: unknown key 'trakcer'; did you mean 'tracker'\?"),
        (
            "streams:\n  - source: a.mp4\n    fsp: 3\nphrases: [a]",
            r"line 3: unknown key 'fsp'; did you mean 'fps'",
        ),
        ("streams: [a.mp4]\nphrases: [dog]\nxyz: 1", r"unknown key 'xyz'; known keys: streams, phrases"),
        ("streams: [a.mp4]\nphrases: [dog, ' ']", "phrase 2 is empty"),
        ("streams: [a.mp4]", "no phrase given"),
        ("phrases: [dog]", "streams is missing"),
        ("streams: []\nphrases: [dog]", "line 1: streams"),
        ("streams: [{source: a.mp4, fps: 0}]\nphrases: [dog]", r"fps.* greater than 0, but got 0"),
        ("streams: [{source: '', fps: 1}]\nphrases: [dog]", "source is empty"),
        ("streams: [{source: a, id: x}, {source: b, id: x}]\nphrases: [dog]", "'x' is given twice"),
        ("streams: [{source: a, id: 'x/y'}]\nphrases: [dog]", "id"),
        ("streams: [a.mp4\nphrases: [dog]", "line 2: not valid YAML"),
        ("just words", "expected keys such as"),
        ("", "expected keys such as"),
        ("streams: [a.mp4]\nphrases: [dog]\ntrack: {tracker: sort}", "line 3: track.tracker.*bytetrack"),
        ("streams: [a.mp4]\nphrases: [dog]\ntrack: {score: 2}", "less than or equal to 1, but got 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "run.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "bad.yaml")


def test_a_password_never_reaches_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(
            {"streams": [{"source": "rtsp://u:secret@h/x", "fps": "rtsp://u:secret@h/x"}], "phrases": ["a"]}
        )
    assert "secret" not in str(caught.value)


def test_equal_stems_are_numbered_and_given_ids_stay() -> None:
    config = make_config(
        {"streams": ["a/x.mp4", "b/x.mp4", {"source": "c/y.mp4", "id": "x-2"}, "d/x.mp4"], "phrases": ["dog"]}
    )
    assert distinct_ids(config.streams) == ["x", "x-3", "x-2", "x-4"]


@pytest.mark.parametrize("name", ["files.yaml", "cameras.yaml"])
def test_shipped_examples_are_right(name: str) -> None:
    assert load_config(CONFIGS / name).streams


def test_a_sentence_asks_for_the_things_that_it_names_unless_phrases_are_given() -> None:
    values = {"streams": ["a.mp4"], "sentence": "a person walking past a white van"}
    config = make_config(values)
    prompt = config.prompt_for(config.streams[0])
    assert prompt.phrases == ("a person", "a white van")
    assert prompt.sentence == "a person walking past a white van"
    config = make_config(values | {"phrases": ["dog"]})
    assert config.prompt_for(config.streams[0]).phrases == ("dog",)
    with pytest.raises(ConfigError, match="no thing is named in 'quickly!'"):
        make_config({"streams": ["a.mp4"], "sentence": "quickly!"})
