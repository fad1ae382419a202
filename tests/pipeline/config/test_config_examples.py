from pathlib import Path

import pytest
from coloured import call

CONFIGS = Path(__file__).parents[3] / "configs"
NO_RUNS = {"demo.yaml", "street-rules.yaml"}  # they name no source
EXAMPLES = sorted(path for path in CONFIGS.glob("*.yaml") if path.name not in NO_RUNS)


def test_there_is_one_for_files_one_for_cameras_and_one_for_a_cluster() -> None:
    assert {"files.yaml", "cameras.yaml", "cluster.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "good" in done.stdout
    assert "password" not in done.stdout
