import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(tmp_path: Path) -> None:
    """Build the wheel, install it elsewhere, run `groundstream --help` from an empty folder.

    Dependencies come from this environment (a path file), so that the test needs no network.
    """
    wheels, empty = tmp_path / "wheels", tmp_path / "empty"
    empty.mkdir()
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = wheels.glob("groundstream-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([python, "-m", "pip", *install], check=True, capture_output=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    editable = {path.name for path in ours.glob("__editable__*")} | {"groundstream"}
    (site / "dependencies.pth").write_text(f"{ours}\n", encoding="utf-8")
    done = subprocess.run(
        [python.with_name("groundstream"), "--help"], cwd=empty, check=True, capture_output=True, text=True
    )
    assert "Find things in live video" in done.stdout
    where = "import groundstream.models.fake as f, groundstream.configs as c; print(f.__file__, c.__file__)"
    done = subprocess.run([python, "-c", where], cwd=empty, check=True, capture_output=True, text=True)
    assert str(site) in done.stdout, (done.stdout, editable)
    listed = {path.name for path in (site / "groundstream").iterdir()}
    assert {"models", "operators", "pipeline", "configs", "py.typed"} <= listed
