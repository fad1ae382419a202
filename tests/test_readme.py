import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundstream.pipeline.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "configs" / "demo" / "street.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert len({line.split()[0] for line in shown}) >= 100  # frames in which something was found
    assert any("white van street:1:" in line for line in shown)


def test_every_flag_that_the_readme_names_exists() -> None:
    commands = ["run", "events", "export", "zones", "adapt"]
    helps = [CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300"}).output for name in commands]
    help_text = "".join(helps)
    for flag in sorted(set(re.findall(r"--[a-z][a-z-]+", README))):
        assert flag in help_text, flag


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"
