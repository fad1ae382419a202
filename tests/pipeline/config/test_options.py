"""One declaration per option: flags, keys, keywords and the page that lists them say the same."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import pytest
from coloured import call, make_coloured, records_of
from typer.testing import CliRunner

import groundstream
from groundstream.models.common.device import DTYPES
from groundstream.operators.errors import ConfigError, GroundstreamError
from groundstream.operators.events.rules import Zone
from groundstream.operators.sources import SourceOptions
from groundstream.pipeline.cli import app, run_with_flags
from groundstream.pipeline.config.flags import FLAGS, all_keys, from_keywords, key_at, keywords
from groundstream.pipeline.config.reference import page
from groundstream.pipeline.config.run import (
    ModelConfig,
    RunConfig,
    load_config,
    load_rules,
    make_config,
    phrases_given,
)

ROOT = Path(__file__).parents[3]
FAKE = ("--model", "fake", "--text-cache", "none")
#: Keys without a flag, on purpose: they belong to one of several streams, or are rarely touched.
WITHOUT_FLAG = {
    "streams", "streams.source", "streams.phrases", "streams.rules", "streams.patience_s",
    "streams.reconnect", "model", "model.adapter_memory_mb", "track", "track.smooth_s", "track.life_s",
    "output", "clips", "clips.longest_s", "clips.pre_mb", "keep", "metrics",
    "ray", "ray.detectors", "ray.gpus_per_detector", "ray.cpus_per_stream", "ray.dashboard",
}  # fmt: skip
#: The parts of the help.
PANELS = {"What to look for", "Model", "Source", "Tracking", "Output", "Events, clips, recording", "Running"}
#: Flags that are about the command and not about the run.
WITHOUT_KEY = {"--config", "--phrases-file", "--phrases", "--quiet", "--log-level", "--log-format", "--help"}


def options_of_run() -> dict[str, Any]:
    return {
        name: option for option in run_with_flags().params for name in (*option.opts, *option.secondary_opts)
    }


def test_every_key_has_a_flag_or_is_known_to_have_none() -> None:
    keys = {".".join(path) for path, _ in all_keys()}
    flagged = [flag.key for flag in FLAGS]
    assert set(flagged) == keys - WITHOUT_FLAG
    assert max(Counter(flagged).values()) == 1
    assert keys >= WITHOUT_FLAG
    assert {f"streams.{field.name}" for field in fields(SourceOptions)} <= keys


def test_the_number_formats_are_those_that_a_model_can_count_in() -> None:
    # They stand twice: whoever looks at `--help` does not wait for torch.
    assert get_args(ModelConfig.model_fields["dtype"].annotation) == ("auto", *DTYPES)


def test_every_flag_has_a_key_as_the_readme_says() -> None:
    names = {name for name in options_of_run() if name.startswith("--")} - {"SOURCE..."}
    known = {
        name for flag in FLAGS for names in (flag.names, *flag.old) for name in re.findall("--[^ /]+", names)
    }
    assert names - known == WITHOUT_KEY - {"--help"}
    assert "Every flag has a YAML key" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_the_help_of_a_flag_is_what_its_key_means(flag: Any) -> None:
    option = options_of_run()[flag.name]
    assert key_at(flag.path).meaning
    assert option.help.startswith(key_at(flag.path).meaning)
    assert option.rich_help_panel == flag.panel
    assert flag.panel in PANELS
    for old in flag.old:
        assert options_of_run()[old].hidden


def test_every_key_means_something() -> None:
    assert [path for path, key in all_keys() if not key.meaning] == []


def test_no_plain_word_names_two_keys() -> None:
    of_others = {("streams", "source"), ("streams", "phrases"), ("streams", "rules")}
    shared = {("model", "name"), ("clips", "mode")}  # `model` and `clips` are the part and its main value
    paths = [path for path, _ in all_keys() if path not in of_others | shared]
    assert sorted(keywords().values()) == sorted(paths)
    assert len(set(keywords())) == len(paths)
    assert not {"sources", "record"} & set(keywords())


ALL = ((0, 0), (1, 0), (1, 1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"score": 0.3}, {"track.score": 0.3}),
        ({"score": 0.3, "track": {"lost_s": 2}}, {"track.score": 0.3, "track.lost_s": 2}),
        ({"model": "fake"}, {"model.name": "fake"}),
        ({"model": "fake", "device": "cpu"}, {"model.name": "fake", "model.device": "cpu"}),
        ({"device": "cpu", "model": {"name": "fake"}}, {"model.name": "fake", "model.device": "cpu"}),
        ({"out": "dir", "video": False}, {"output.dir": Path("dir"), "output.video": False}),
        ({"out": "dir", "output": {"video": False}}, {"output.dir": Path("dir"), "output.video": False}),
        ({"clips": "events", "pre_s": 1}, {"clips.mode": "events", "clips.pre_s": 1}),
        ({"recording": True}, {"recording.segment_s": 60}),
        ({"segment_s": 3}, {"recording.segment_s": 3}),
        ({"keep_gb": 3, "metrics_port": 0}, {"keep.gb": 3, "metrics.port": 0}),
        ({"sinks": "jsonl:b.jsonl"}, {"output.sinks": ("jsonl:b.jsonl",)}),
        ({"ray_detectors": 2}, {"ray.detectors": 2}),
        ({"rules": {"zones": {"all": {"polygon": ALL}}}}, {"rules.zones": (Zone("all", ALL),)}),
    ],
)
def test_python_takes_every_key_by_its_plain_word(settings: dict[str, Any], told: dict[str, Any]) -> None:
    config = from_keywords(["a.mp4"], {"phrases": ["dog"], **settings})
    assert {path: attrgetter(path)(config) for path in told} == told


def test_a_word_of_streams_is_for_those_that_do_not_say_it_themselves() -> None:
    streams = ["b.mp4", {"source": "c.mp4", "fps": 5, "end_s": 9}]
    config = from_keywords(["a.mp4"], {"phrases": ["dog"], "fps": 2, "streams": streams})
    assert [(each.source, each.options.fps, each.options.end_s) for each in config.streams] == [
        ("a.mp4", 2, None),
        ("b.mp4", 2, None),
        ("c.mp4", 5, 9),
    ]


def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown keyword 'fsp'; did you mean 'fps'\?"):
        groundstream.open_pipeline("a.mp4", ["dog"], fsp=2)
    with pytest.raises(ConfigError, match="unknown keyword 'xyzzy'; known are: out, streams"):
        next(groundstream.run("a.mp4", ["dog"], xyzzy=2))
    with pytest.raises(ConfigError, match=r"unknown key 'lost'; did you mean 'lost_s'\?"):
        groundstream.open_pipeline("a.mp4", ["dog"], track={"lost": 2})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metrics_port": "x"}, "metrics_port: input should be a valid integer"),
        ({"keep_gb": 0}, "keep_gb: input should be greater than 0"),
        ({"clips": "event"}, "clips: input should be 'events', 'always' or 'none'"),
        ({"track": {"score": 2}}, "track.score: input should be less than or equal to 1"),
        ({"fps": "two"}, "fps: input should be a valid number"),
        ({"out": 3}, "out: expected a path, as 'out', but got 3$"),
        ({"video": "perhaps"}, "video: expected true or false, but got 'perhaps'$"),
        ({"metrics_port": 1.5}, "metrics_port: expected a whole number, but got 1.5$"),
        ({"keep_gb": "abc"}, "keep_gb: input should be a valid number, but got 'abc'$"),
        ({"sinks": 3}, r"sinks: expected a list, as \[a, b\], but got 3"),
        ({"recording": "on"}, "recording: expected keys such as segment_s, but got 'on'"),
        ({"rules": 3}, "rules: expected keys such as zones, lines, counts, but got 3"),
        ({"rules": "missing.yaml"}, r"cannot read the configuration missing\.yaml: No such file"),
        ({"streams": 3}, r"streams: expected a list, as \['a.mp4'\], but got 3"),
    ],
)
def test_a_wrong_value_is_told_by_the_word_that_gave_it(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        from_keywords(["a.mp4"], {"phrases": ["dog"], **settings})


def test_a_flag_that_wins_over_a_line_of_the_file_is_named_and_not_the_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = "streams: [a.mp4]\nphrases: dog\nmodel: {max_batch: 2}\nrecording: {segment_s: 0}\n"
    (tmp_path / "run.yaml").write_text(text)
    done = call(capsys, "run", "--config", tmp_path / "run.yaml", "--batch", 0, "--recording")
    assert done.returncode == 2
    assert "--batch: input should be greater than or equal to 1, but got 0" in done.stderr
    assert f"{tmp_path / 'run.yaml'}, line 2: phrases: expected a list" in done.stderr
    assert "line 3" not in done.stderr
    assert f"{tmp_path / 'run.yaml'}, line 4: recording.segment_s: input should be greater" in done.stderr


def test_a_sentence_on_the_command_line_wins_over_the_phrases_of_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clip = make_coloured(tmp_path / "a.mp4", frames=10)
    (tmp_path / "run.yaml").write_text(f"streams: ['{clip}']\nphrases: [red car]\noutput: {{video: false}}\n")
    said = ("--sentence", "Where is a blue bus?", "--out", tmp_path / "out", "--quiet")
    done = call(capsys, "run", "--config", tmp_path / "run.yaml", *FAKE, *said)
    assert done.returncode == 0, done.stderr
    objects = records_of(tmp_path / "out" / "detections.jsonl")[-1]["objects"]
    assert {each["phrase"] for each in objects} == {"a blue bus"}


def test_plain_words_reach_the_run(tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "a.mp4", frames=20)
    settings = {"model": "fake", "text_cache": "none", "fps": 2, "score": 0.3, "video": False}
    results = list(groundstream.run(clip, ["red car"], out=tmp_path / "out", **settings))
    assert len(results) == len(records_of(tmp_path / "out" / "detections.jsonl")) == 4
    assert not (tmp_path / "out" / "annotated.mp4").exists()


@pytest.mark.parametrize(
    ("word", "right"),
    [("query", "phrases"), ("conf", "score"), ("threshold", "score"), ("dir", "out"), ("weights", "model")],
)
def test_words_of_other_tools_lead_to_the_right_one(word: str, right: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown keyword '{word}'; did you mean '{right}'\?"):
        from_keywords(["a.mp4"], {word: 1})


@pytest.mark.parametrize("asked", ["white van", ["white van"], ("white van",), iter(["white van"])])
def test_phrases_may_be_given_as_one_string_or_several(asked: Any) -> None:
    assert phrases_given(asked) == ("white van",)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (None, r"expected phrases as strings, as \['person', 'white van'\], but got None"),
        (3, "expected phrases as strings, .*, but got 3"),
        (["dog", 3], "phrase 2: expected a string, as 'white van', but got 3"),
    ],
)
def test_phrases_that_are_no_strings_are_told_in_words(asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        groundstream.open_pipeline("a.mp4", asked)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "expected a source as a path, a URL or the number of a webcam, but got None"),
        ([True], "expected a source as .*, but got True"),
        ([], "no source given; name a file, a folder, a URL or a webcam"),
    ],
)
def test_sources_of_python_are_told_in_words(source: Any, words: str) -> None:
    with pytest.raises(GroundstreamError, match=words):
        groundstream.open_pipeline(source, ["dog"], model="fake", text_cache="none")


def test_a_webcam_may_be_given_as_its_number() -> None:
    with groundstream.open_pipeline(99, "dog", model="fake", text_cache="none") as pipeline:
        assert [stream.id for stream in pipeline.streams] == ["webcam-99"]


def test_a_running_pipeline_takes_one_string_and_tells_what_is_none(tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "a.mp4", frames=5)
    with groundstream.open_pipeline([clip], "red car", model="fake", text_cache="none") as pipeline:
        pipeline.set_phrases("white van")
        for wrong in (None, [3]):
            with pytest.raises(ConfigError, match="string"):
                pipeline.set_phrases(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="expected a source"):
            pipeline.add(None, "dog")  # type: ignore[arg-type]
        added = pipeline.add(clip, "dog", id="gate")
        assert repr(added) == f"<stream gate: {clip}>"
        asked = {
            phrase for result in pipeline for phrase in result.prompt.phrases if result.frame.stream_id == "a"
        }
    assert asked == {"white van"}


RULES = "zones: {all: {polygon: [[0, 0], [1, 0], [1, 1]]}}\nsettle_s: 1\n"


@pytest.mark.parametrize("kind", [str, Path])
def test_rules_may_be_named_as_a_file_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RULES)
    (tmp_path / "deeper").mkdir()
    text = "streams: [a.mp4, {source: b.mp4, rules: r.yaml}]\nphrases: [dog]\nrules: r.yaml\n"
    (tmp_path / "deeper" / "run.yaml").write_text(text)
    keywords_ = from_keywords(["a.mp4"], {"phrases": ["dog"], "rules": kind("r.yaml")})
    # What a flag gives is laid over the file's.
    file = load_config(Path("deeper/run.yaml"), {"rules": {"settle_s": 2}})
    assert keywords_.rules == load_rules(tmp_path / "r.yaml") == file.streams[1].rules
    assert file.rules is not None
    assert (len(file.rules.zones), file.rules.settle_s) == (1, 2)
    (tmp_path / "r.yaml").write_text(RULES.replace("polygon", "polygn"))
    with pytest.raises(ConfigError, match=r"^r\.yaml, line 1: .*polygn'; did you mean 'polygon'"):
        load_config(Path("deeper/run.yaml"))


def test_a_setting_without_effect_is_told_once_when_a_run_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_coloured(tmp_path / "a.mp4", frames=5)
    done = call(
        capsys, "run", clip, *FAKE, "-q", "red car", "--keep-gb", 3, "--out", tmp_path / "o", "--quiet"
    )
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "keep.gb (--keep-gb) without effect" in done.stderr
    list(groundstream.run(clip, ["red car"], model="fake", text_cache="none", clips="always"))
    assert caplog.text.count("no clips and no recording are made: they need a folder") == 1


def test_the_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == page(), (
        "run: python -m groundstream.pipeline.config.reference > docs/options.md"
    )


def test_old_names_of_flags_still_work_and_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_coloured(tmp_path / "a.mp4", frames=20)
    (tmp_path / "p.txt").write_text("white van\n")
    done = call(
        capsys, "run", clip, *FAKE, "-q", "red car", "--query", "blue bus", "--phrases", tmp_path / "p.txt",
        "--record", "--segment", 1, "--out", tmp_path / "out", "--no-video", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for old, new in (("--query", "--phrase"), ("--phrases", "--phrases-file"), ("--record", "--recording")):
        assert done.stderr.count(f"{old} is called {new} now") == 1
    assert list((tmp_path / "out" / "recording").glob("*.mp4"))
    first = records_of(tmp_path / "out" / "detections.jsonl")[0]
    assert {thing["phrase"] for thing in first["objects"]} == {"red car", "blue bus", "white van"}
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "300"}).output
    assert not re.findall(r"--query\b|--record\b(?!s)|--phrases\b(?!-)", shown)


@pytest.mark.parametrize("command", ["run", "adapt"])
def test_phrases_are_asked_by_the_same_flag_everywhere(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
    assert re.search(r"--phrase +-q +PHRASE", shown)


def test_a_flag_of_streams_needs_a_source(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("streams: [a.mp4]\nphrases: [dog]\n")
    done = call(capsys, "run", "--config", tmp_path / "run.yaml", "--end", 3, "--name", "x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--end, --name without a source" in done.stderr


@pytest.mark.parametrize(
    ("written", "segment_s"),
    [
        ({"recording": True}, 60),
        ({"recording": {}}, 60),
        ({"recording": {"segment_s": 9}}, 9),
        ({"recording": False}, None),
        ({"record": True}, 60),
        ({"record": False}, None),
        ({"record": {"segment_s": 9}}, 9),
        ({"record": {True: True, "segment_s": 9}}, 9),  # what YAML makes of `on: true`
        ({"record": {"on": True}}, 60),
        ({"record": {"on": False, "segment_s": 9}}, None),
    ],
)
def test_recording_means_what_it_says(
    written: dict[str, Any], segment_s: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="groundstream.config"):
        config = make_config({"streams": ["a.mp4"], "phrases": ["dog"], **written})
    assert (config.recording.segment_s if config.recording else None) == segment_s
    assert config.stores_video is (segment_s is not None)
    assert caplog.text.count("the key record is called recording now") == ("record" in written)


def test_the_run_is_declared_by_these_parts_alone() -> None:
    named = {path[0] for path, _ in all_keys()}
    assert named == set(RunConfig.model_fields)


LONG = f"rtsp://administrator:{'s3cret' * 12}@gate/1"


@pytest.mark.parametrize(
    ("sources", "settings"),
    [([[LONG]], {}), (LONG.encode(), {}), ("a.mp4", {"streams": LONG}), ("a.mp4", {"streams": [[LONG]]})],
)
def test_a_password_is_hidden_also_where_its_url_is_cut(sources: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        groundstream.open_pipeline(sources, "dog", **settings)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("settings", [{"streams": {"source": "b.mp4"}}, {"streams": b"b.mp4"}])
def test_streams_that_are_no_list_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="streams: expected a list"):
        groundstream.open_pipeline("a.mp4", "dog", **settings)
