"""What is in the wheel, and that it works without the repository around it."""

import ast
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: what the wheel is made of; a build in the repository itself would take up what an older one left there.
SOURCES = ("src", "models", "operators", "pipeline", "configs")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
#: what may be in the wheel; rooms are one folder deep.
ALLOWED = (
    r"groundstream/(__init__\.py|io\.py|py\.typed)",
    r"groundstream/(models|operators|pipeline)/(\w+/)?\w+\.py",
    r"groundstream/models/weights/[\w-]+\.safetensors",
    r"groundstream/operators/records/[\w-]+\.json",
    r"groundstream/configs/(\w+\.py|[\w-]+\.yaml)",
    r"groundstream/configs/demo/[\w.-]+",
    r"groundstream-[\w.]+\.dist-info/.+",
)
NEEDED = (
    "groundstream/py.typed",
    "groundstream/models/weights/glip-nano.safetensors",
    "groundstream/models/weights/glip-nano-adapter.safetensors",
    "groundstream/models/adaptation/fit.py",
    "groundstream/pipeline/evaluation/benchmark.py",
    "groundstream/operators/records/detection-1.json",
    "groundstream/operators/records/event-1.json",
    "groundstream/configs/demo/street.mp4",
)
ONLY_WITH_A_BANK = ROOT / "pipeline" / "commands" / "evaluate.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in SOURCES:
        leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (found,) = wheels.glob("groundstream-*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_rooms_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    odd = [name for name in names if not any(re.fullmatch(pattern, name) for pattern in ALLOWED)]
    assert not odd
    assert not [name for name in names if {"training", "tests", "benchmarks"} & set(name.split("/"))]
    assert set(NEEDED) <= set(names)
    assert any(re.fullmatch(r"groundstream/configs/[\w-]+\.yaml", name) for name in names)
    for package in ("models", "operators", "pipeline"):
        modules = {f"groundstream/{path.relative_to(ROOT)}" for path in (ROOT / package).rglob("*.py")}
        assert not modules - set(names), "a folder without __init__.py?"


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """Install the wheel elsewhere, run `groundstream` from an empty folder.

    Dependencies come from this environment (a path file), so that the test needs no network.
    """
    empty = tmp_path / "empty"
    empty.mkdir()
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([python, "-m", "pip", *install], check=True, capture_output=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    editable = {path.name for path in ours.glob("__editable__*")} | {"groundstream"}
    (site / "dependencies.pth").write_text(f"{ours}\n", encoding="utf-8")

    def run(program: str, *arguments: str, code: int = 0) -> str:
        # Isolated: neither the repository's folder nor PYTHONPATH may help.
        start = (
            [python, "-I", python.with_name("groundstream")] if program == "groundstream" else [python, "-I"]
        )
        done = subprocess.run([*start, *arguments], cwd=empty, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert "Find things in live video" in run("groundstream", "--help")
    where = "import groundstream.models.fake as f, groundstream.configs as c; print(f.__file__, c.__file__)"
    said = run("python", "-c", where)
    assert str(site) in said, (said, editable)
    listed = {path.name for path in (site / "groundstream").iterdir()}
    assert {"models", "operators", "pipeline", "configs", "py.typed"} <= listed
    commands = "import groundstream.pipeline.commands.adapt, groundstream.pipeline.commands.evaluate, sys"
    run(
        "python",
        "-c",
        f"{commands}; assert not [name for name in sys.modules if name.startswith('training')]",
    )
    said = " ".join(run("groundstream", "eval", "temporal", "--bank", "bank", code=2).split())
    assert "not part of the installed package; install from a checkout" in said


def test_no_module_needs_the_training_folder() -> None:
    """Only one option does, by name and when it is used: `groundstream eval temporal --bank`."""
    for package in ("models", "operators", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)):
                names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                wrong = [name for name in names if name.split(".")[0] in ("training", "tests", "benchmarks")]
                assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"
            if path != ONLY_WITH_A_BANK:
                assert not re.search(r"[\"']training\.", text), f"{path.relative_to(ROOT)} names training"
