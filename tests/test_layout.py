import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "operators", "pipeline")
ONLY_PIPELINE = {"ray", "pydantic", "typer"}
LIGHT_S = 1.0


def imports(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import; say groundstream.<package>"
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package: str) -> None:
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    for path in (ROOT / package).rglob("*.py"):
        modules = imports(path)
        wrong = [name for name in modules for other in above if name.startswith(f"groundstream.{other}")]
        assert not wrong, f"{path.relative_to(ROOT)} imports upwards: {wrong}"
        bare = [name for name in modules if name.split(".")[0] in PACKAGES]
        assert not bare, f"{path.relative_to(ROOT)}: say groundstream.{bare[0]}"
        if package != "pipeline":
            heavy = {name.split(".")[0] for name in modules} & ONLY_PIPELINE
            assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}, which belongs to pipeline/"


def test_the_import_root_is_made_of_links() -> None:
    for name in (*PACKAGES, "configs"):
        link = ROOT / "src" / "groundstream" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_public_names_exist() -> None:
    import groundstream

    for name in groundstream.__all__:
        assert getattr(groundstream, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = groundstream.nonsense


@pytest.mark.parametrize(
    "arguments", [("-c", "import groundstream"), ("-m", "groundstream.pipeline.cli", "--help")]
)
def test_start_up_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    heavy = "('torch', 'transformers', 'av', 'cv2', 'supervision', 'numpy', 'redis', 'kornia')"
    code = (
        "import sys, runpy, atexit; "
        f"atexit.register(lambda: print('HEAVY', [m for m in {heavy} if m in sys.modules])); "
    )
    if arguments[0] == "-c":
        code += arguments[1]
    else:
        code += "sys.argv = ['groundstream', '--help']; "
        code += f"runpy.run_module({arguments[1]!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
