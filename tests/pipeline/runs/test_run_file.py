import itertools
import signal
from pathlib import Path

import pytest
from coloured import (
    ALL,
    PHRASES,
    groundstream,
    ids_by_phrase,
    left_of,
    make_coloured,
    records_of,
    run_until,
    times_of,
)

import groundstream as gs

FAKE = ("--model", "fake", "--text-cache", "none")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coloured(tmp_path_factory.mktemp("clips") / "street.mp4")


def test_a_file_becomes_records_and_an_annotated_video(clip: Path, tmp_path: Path) -> None:
    done = groundstream("run", clip, *ALL, *FAKE, "--out", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{tmp_path}/annotated.mp4" in done.stderr
    records = records_of(tmp_path / "detections.jsonl")
    assert [record["seq"] for record in records] == list(range(60))
    ids = ids_by_phrase(records)
    assert set(ids) == set(PHRASES)
    assert sorted(uid for uids in ids.values() for uid in uids) == [f"street:1:{n}" for n in (1, 2, 3)]
    for record in records[1:]:
        red = next(thing for thing in record["objects"] if thing["phrase"] == "red car")
        assert red["box"][0] == pytest.approx(left_of(0, record["time_s"], 160), abs=3)
        assert red["state"] == "confirmed"
    assert times_of(tmp_path / "annotated.mp4") == times_of(clip)


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times_ms = [0, 40, 90, 300, 310, 1000, 1033, 2500, 2600]
    clip = make_coloured(tmp_path / "odd.mp4", times_ms=times_ms)
    assert groundstream("run", clip, *ALL, *FAKE, "--out", tmp_path / "o").returncode == 0
    expected = [time_ms / 1000 for time_ms in times_ms]
    assert times_of(tmp_path / "o" / "annotated.mp4") == expected
    assert [r["time_s"] for r in records_of(tmp_path / "o" / "detections.jsonl")] == expected


def test_every_output_at_once_and_one_subfolder_per_source(clip: Path, tmp_path: Path) -> None:
    other = make_coloured(tmp_path / "yard.mp4", frames=20)
    sinks = itertools.chain(
        *(("--sink", f"{kind}:{tmp_path}/{{stream}}.{kind}") for kind in ("csv", "mot", "coco", "jsonl"))
    )
    done = groundstream(
        "run", clip, other, *ALL, *FAKE, "--executor", "local", "--out", tmp_path / "o", *sinks
    )
    assert done.returncode == 0, done.stderr
    for stream, count in (("street", 60), ("yard", 20)):
        records = records_of(tmp_path / "o" / stream / "detections.jsonl")
        assert len(records) == len(times_of(tmp_path / "o" / stream / "annotated.mp4")) == count
        assert all(uid.startswith(f"{stream}:1:") for uids in ids_by_phrase(records).values() for uid in uids)
        assert records_of(tmp_path / f"{stream}.jsonl") == records
        for kind in ("csv", "mot", "coco"):
            assert (tmp_path / f"{stream}.{kind}").stat().st_size > 500


def test_outputs_can_be_left_out_and_are_never_overwritten_unasked(clip: Path, tmp_path: Path) -> None:
    run = ("run", clip, *ALL, *FAKE, "--end", 1, "--out", tmp_path)
    assert groundstream(*run, "--no-video").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["detections.jsonl"]
    before = (tmp_path / "detections.jsonl").read_bytes()
    again = groundstream(*run)
    assert again.returncode == 5
    assert "exists already; choose another place or add --overwrite" in again.stderr
    assert (tmp_path / "detections.jsonl").read_bytes() == before
    assert not (tmp_path / "annotated.mp4").exists()
    sink = groundstream("run", clip, *ALL, *FAKE, "--sink", f"jsonl:{tmp_path}/detections.jsonl")
    assert (sink.returncode, "exists already" in sink.stderr) == (5, True)
    assert groundstream(*run, "--overwrite").returncode == 0


def test_a_part_of_the_file_sampled_by_time(clip: Path, tmp_path: Path) -> None:
    done = groundstream("run", clip, *ALL, *FAKE, "--start", 2, "--end", 4, "--fps", 5, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    times = [record["time_s"] for record in records_of(tmp_path / "detections.jsonl")]
    assert times == [2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6, 3.8]


def test_phrases_from_a_file_300_of_them(clip: Path, tmp_path: Path) -> None:
    lines = ["# what to look for", "", "red car", "红色汽车", "🚗 white", "Red  car"]
    (tmp_path / "phrases.txt").write_text("\n".join(lines + [f"thing {n}" for n in range(300)]))
    done = groundstream(
        "run", clip, "--phrases-file", tmp_path / "phrases.txt", *FAKE, "--end", 1, "--sink", "jsonl:-"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 10
    assert '"red car"' in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_files(clip: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    records = tmp_path / "o" / "detections.jsonl"
    done = run_until(
        ("run", clip, *ALL, *FAKE, "--semantics", "live", "--out", tmp_path / "o"),
        lambda: records.exists() and records.read_bytes().count(b"\n") >= 15,
        number,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    written = records_of(records)
    assert 15 <= len(written) < 60
    assert len(times_of(tmp_path / "o" / "annotated.mp4")) == len(written)


def test_a_killed_run_leaves_what_it_had_written(clip: Path, tmp_path: Path) -> None:
    records = tmp_path / "o" / "detections.jsonl"
    done = run_until(
        ("run", clip, *ALL, *FAKE, "--semantics", "live", "--out", tmp_path / "o"),
        lambda: records.exists() and records.read_bytes().count(b"\n") >= 40,
        signal.SIGKILL,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(records_of(records)) >= 40
    assert len(times_of(tmp_path / "o" / "annotated.mp4")) >= 10


def test_python_in_six_lines(clip: Path) -> None:
    seen = []
    for result in gs.run(clip, ["red car"], model="fake", text_cache="none"):
        seen.append((result.frame.time_s, result.detections.data["phrase"].tolist()))
    assert len(seen) == 60
    assert seen[5] == (0.5, ["red car"])


def test_leaving_the_loop_stops_the_pipeline(clip: Path) -> None:
    with gs.open_pipeline(clip, PHRASES, model="fake", text_cache="none") as pipeline:
        for result in pipeline:
            if result.frame.seq == 5:
                break
    assert pipeline.streams[0].view.results < 40


def test_the_query_changes_within_one_frame_and_ids_stay(clip: Path) -> None:
    asked, ids = [], []
    with gs.open_pipeline(clip, PHRASES, model="fake", text_cache="none") as pipeline:
        while result := pipeline.streams[0].runner.step():
            asked.append(result.prompt.phrases)
            ids.append(set(result.detections.data["track_uid"].tolist()) - {""})
            if result.frame.seq == 20:
                pipeline.set_phrases(["white truck", "crimson red thing"])
    assert asked[20] == PHRASES
    assert set(asked[21:]) == {("white truck", "crimson red thing")}
    assert ids[20] == {"street:1:1", "street:1:2", "street:1:3"}
    assert all(found == {"street:1:1", "street:1:2"} for found in ids[21:])


def test_a_wrong_change_is_refused_and_the_old_query_stays(clip: Path) -> None:
    with gs.open_pipeline(clip, PHRASES, model="fake", text_cache="none") as pipeline:
        with pytest.raises(ValueError, match="phrase 1 is empty"):
            pipeline.set_phrases([" "])
        with pytest.raises(ValueError, match="there are: street"):
            pipeline.set_phrases(["dog"], stream_id="strete")
        result = pipeline.streams[0].runner.step()
        assert result is not None
        assert result.prompt.phrases == PHRASES


def test_a_control_file_changes_the_query_of_a_running_command(clip: Path, tmp_path: Path) -> None:
    control, records = tmp_path / "phrases.txt", tmp_path / "o" / "detections.jsonl"
    control.write_text("red car\n")

    def reached() -> bool:
        count = records.read_bytes().count(b"\n") if records.exists() else 0
        if count >= 10 and control.read_text() == "red car\n":
            control.write_text("blue bus\n")
        return count >= 30

    done = run_until(
        ("run", clip, *ALL, *FAKE, "--control", control, "--semantics", "live", "--out", tmp_path / "o"),
        reached,
        signal.SIGINT,
    )
    assert done.returncode == 130, done.stderr
    written = records_of(records)
    phrases = [{thing["phrase"] for thing in record["objects"]} for record in written]
    assert phrases[5] == {"red car"}
    assert phrases[-1] == {"blue bus"}
