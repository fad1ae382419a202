import re
from pathlib import Path
from typing import Any

import pytest

from groundstream.operators.errors import ConfigError
from groundstream.operators.events.rules import CountLine, StreamRules, Zone
from groundstream.pipeline.config.run import distinct_ids, idle_settings, load_config, make_config, read_rules

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
        ("streams: []\nphrases: [dog]", r"line 1: streams: expected at least one, but got \[\]$"),
        ("streams: [{source: a.mp4, fps: 0}]\nphrases: [dog]", r"fps.* greater than 0, but got 0"),
        ("streams: [{source: '', fps: 1}]\nphrases: [dog]", "source is empty"),
        ("streams: [{source: a, id: x}, {source: b, id: x}]\nphrases: [dog]", "'x' is given twice"),
        ("streams: [{source: a, id: 'x/y'}]\nphrases: [dog]", "id"),
        ("streams: [a.mp4\nphrases: [dog]", "line 2: not valid YAML"),
        ("just words", "expected keys such as"),
        ("", "expected keys such as 'streams:' and 'phrases:', but it is empty$"),
        ("# nothing yet", "but it is empty$"),
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


RULES = """\
streams: [a.mp4]
phrases: [dog]
rules:
  zones:
    gate:
      polygon: [[0, 0], [1, 0], [1, 1]]
  lines:
    road: {start: [0, 0.5], end: [1, 0.5]}
"""


def test_rules_are_the_operators_own_values(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, RULES))
    gate, road = Zone("gate", ((0, 0), (1, 0), (1, 1))), CountLine("road", (0, 0.5), (1, 0.5))
    assert config.rules == StreamRules(zones=(gate,), lines=(road,))
    assert (
        make_config({"streams": ["a.mp4"], "phrases": ["dog"], "rules": config.rules}).rules is config.rules
    )
    own = RULES.replace("streams: [a.mp4]", "streams: [{source: a.mp4, rules: {events: [appear]}}]")
    config = load_config(write(tmp_path, own))
    assert config.rules_for(config.streams[0]) == StreamRules(events=("appear",))


def test_rules_of_a_file_are_laid_over_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("zones: {yard: {polygon: [[0, 0], [1, 0], [1, 1]]}}\nsettle_s: 1\n")
    config = load_config(write(tmp_path, RULES), {"rules": read_rules(tmp_path / "more.yaml")})
    assert config.rules is not None
    assert [zone.name for zone in config.rules.zones] == ["gate", "yard"]
    assert (len(config.rules.lines), config.rules.settle_s) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("polygon:", "polygn:", r"line 6: unknown key 'polygn'; did you mean 'polygon'\?"),
        ("start: [0, 0.5]", "start: 7", r"line 8: rules.lines.road.start: expected a list, as .*, but got 7"),
        ("[1, 1]]", "[1, 1]]\n      score: 7", "line 7: zone 'gate': expected a score above 0 and up to 1"),
        ("[1, 1]]", "[1, 1]]\n      dwell_s: 0", "line 7: zone 'gate': expected dwell_s above 0 seconds"),
        ("[1, 0], [1, 1]", "[1, 1]", "line 5: zone 'gate': expected at least 3 corners"),
        ("[1, 1]]", "[1, 1]]\n      name: x", "line 4: zones: unknown key 'name' in 'gate'"),
        ("  lines:", "  counts: []\n  lines:", "line 7: counts: expected each by its name"),
        ("lines:", "liens:", r"line 7: unknown key 'liens'; did you mean 'lines'\?"),
        ("  lines:", "  events: [dwell]\n  lines:", "line 7: events of the kind dwell need a zone"),
        ("{start: [0, 0.5], end: [1, 0.5]}", "5", "line 8: rules.lines.road: "),
        ("end: [1, 0.5]", "x: 1", "line 8: rules.lines.road.end is missing"),
        ("    gate:", "    no:", "line 5: rules.zones.False.name: .*put the word in quotes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_rules_is_said_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, RULES.replace(old, new)))


def test_a_zone_that_is_named_twice_in_a_file_of_rules_is_told(tmp_path: Path) -> None:
    zone = "  yard: {polygon: [[0, 0], [1, 0], [1, 1]]}\n"
    path = write(tmp_path, f"zones:\n{zone}{zone}")
    with pytest.raises(ConfigError, match=r"run\.yaml, line 3: the key 'yard' is there already, in line 2"):
        read_rules(path)


def test_a_key_that_is_repeated_by_reference_is_given_once(tmp_path: Path) -> None:
    text = "streams: [{<<: &all {fps: 2}, source: a}, {<<: *all, source: b, fps: 3}]\nphrases: [dog]\n"
    config = load_config(write(tmp_path, text))
    assert [stream.options.fps for stream in config.streams] == [2, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "recording: {on: true}",
            r"line 3: .*`on` is no key \(YAML reads it as true\); write `recording: true`",
        ),
        ("recording: {'on': true}", "line 3: .*write `recording: true`"),
        ("recording: 7", "line 3: recording"),
        ("recording: {segment_s: 0}", "line 3: recording.segment_s: .*greater than 0"),
        ("record: {segment_s: 0}", "line 3: recording.segment_s: .*greater than 0"),
        (
            "recording: true\nrecord: true",
            "line 4: 'record' is the old name of 'recording', and both are given; remove 'record'",
        ),
        ("record: true\nrecording: true", "line 3: 'record' is the old name of 'recording', and both are"),
        ("score: 0.3", r"line 3: unknown key 'score'; did you mean 'track\.score'\?"),
        ("conf: 0.3", r"line 3: unknown key 'conf'; did you mean 'track\.score'\?"),
        ("out: x", r"line 3: unknown key 'out'; did you mean 'output\.dir'\?"),
        ("query: x", r"line 3: unknown key 'query'; did you mean 'phrases'\?"),
        ("zones: {}", r"line 3: unknown key 'zones'; did you mean 'rules\.zones'\?"),
        ("phrases: [cat]", "line 3: the key 'phrases' is there already, in line 2; keep one of them"),
        ("model: {name: a, name: b}", "line 3: the key 'name' is there already, in line 3; keep one"),
        (
            "clips: {mode: off}",
            "line 3: clips.mode: .*'none', but got False; YAML reads on, yes, off and no as",
        ),
        ("clips: off", "line 3: clips.mode: .*put the word in quotes"),
        ("clips: sometimes", "line 3: clips.mode: input should be 'events', 'always' or 'none'"),
        ("text_cache: no", "line 3: text_cache: .*but got False; YAML reads .* put the word in quotes"),
        ("model: {adapter: off}", "line 3: model.adapter: .*put the word in quotes"),
        ("sentence: 7", "line 3: sentence: .*but got 7; put it in quotes"),
        ("sentence: 2026-05-01", "line 3: sentence: .*; put it in quotes"),
        ("on: true", "the key True is no word, as YAML reads it; put it in quotes"),
        ("options: {fps: 3}", "line 3: unknown key 'options'"),
        ("model: {nmae: x}", r"line 3: unknown key 'nmae'; did you mean 'name'\?"),
        ("model: &a [*a]", "an alias holds itself"),
        ("clips: {longest_s: 0.5}", "line 3: clips.longest_s: .*greater than or equal to 1"),
        ("rules: ~nobody-has-this-name/rules.yaml", "no home folder is known for ~nobody-has-this-name"),
    ],
)
def test_words_that_yaml_reads_as_something_else(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, f"streams: [a.mp4]\nphrases: [dog]\n{line}\n"))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("fps: 0", r"line 3: fps must be a number greater than 0, but got 0"),
        ("fps: .inf", "line 3: fps must be a number greater than 0, but got inf"),
        ("fps: fast", "line 3: streams.0.fps: .*valid number"),
        ("transport: tpc", "line 3: streams.0.transport: input should be 'tcp' or 'udp'"),
        ("end_s: -1", "line 3: end_s must be a number greater than 0"),
        ("fsp: 3", r"line 3: unknown key 'fsp'; did you mean 'fps'\?"),
        (
            "options: {fps: 3}",
            "line 3: unknown key 'options'; did you mean 'patience_s'",
        ),
        ("id: yes", "line 3: streams.0.id: .*put the word in quotes"),
        ("end_s: 3\n    end_s: 4", "line 4: the key 'end_s' is there already, in line 3; keep one of them"),
    ],
)
def test_options_of_a_source_stand_beside_it_and_are_checked_by_its_room(
    tmp_path: Path, stream: str, message: str
) -> None:
    text = f"streams:\n  - source: a.mp4\n    {stream}\nphrases: [dog]\n"
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_short_forms_are_laid_over_each_other(tmp_path: Path) -> None:
    path = write(tmp_path, "streams: [a.mp4]\nphrases: [dog]\nclips: events\nmodel: fake\nrecording: true\n")
    overrides = {"clips": {"pre_s": 1}, "model": {"device": "cpu"}, "recording": {"segment_s": 5}}
    config = load_config(path, overrides)
    assert (config.clips.mode, config.clips.pre_s) == ("events", 1)
    assert (config.model.name, config.model.device) == ("fake", "cpu")
    assert config.recording is not None
    assert config.recording.segment_s == 5
    path = write(tmp_path, "streams: [a.mp4]\nphrases: [dog]\nrecording: {segment_s: 7}\n")
    config = load_config(path, {"recording": True})
    assert config.recording is not None
    assert config.recording.segment_s == 7


MQTT, HOOK = "mqtt://u:s3cret@host/topic", "webhook+https://host/path"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"keep": {"gb": 3}}, [r"keep\.gb \(--keep-gb\) without effect: neither clips nor"]),
        ({"keep": {"gb": 3, "days": 1}}, [r"keep\.gb \(--keep-gb\) and keep\.days \(--keep-days\) without"]),
        ({"keep": {"gb": 3}, "clips": "events", "output": {"dir": "out"}}, []),
        ({"recording": True}, [r"no clips and no recording are made: .*, output\.dir \(out= in Python\)"]),
        ({"clips": "always"}, ["no clips and no recording are made"]),
        (
            {"output": {"sinks": [MQTT, HOOK, "jsonl:-"]}},
            [r"nothing is sent to mqtt://\*\*\*@host/topic: it gets events only", "sent to webhook.*rules"],
        ),
        ({"output": {"sinks": [f"{MQTT}?qos=0&detections=1", f"{HOOK}#detections=1"]}}, []),
        ({"output": {"sinks": [f"{HOOK}?detections=1"]}}, ["nothing is sent to webhook"]),  # the receiver's
        ({"output": {"sinks": [MQTT]}, "rules": {"events": ["appear"]}}, []),
        (
            {
                "output": {"sinks": [MQTT]},
                "streams": ["a.mp4", {"source": "b.mp4", "rules": {"events": ["appear"]}}],
            },
            [],
        ),
    ],
)
def test_settings_without_effect_are_told(settings: dict[str, Any], told: list[str]) -> None:
    config = make_config({"streams": ["a.mp4"], "phrases": ["dog"], **settings})
    sentences = list(idle_settings(config))
    assert len(sentences) == len(told)
    for sentence, words in zip(sentences, told, strict=True):
        assert re.search(words, sentence)
