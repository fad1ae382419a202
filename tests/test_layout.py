import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: The rooms (folders, and files beside them) of each package, lowest first: a room may import those of lower
#: lines and of packages further up, never a room of its own line. A new room is given its place here.
ORDER = {
    "models": (
        "types errors",
        "common",
        "base",
        "glip hf nano temporal text fake",
        "adaptation registry",
    ),
    "operators": (
        "urls errors",
        "utils",
        "frames",
        "events video tracking",
        "records sources text detector",
        "sinks clips",
        "recording",
    ),
    "pipeline": (
        "config",
        "observe",
        "detectors",
        "streams",
        "executors",
        "pipeline",
        "evaluation",
        "commands api",
        "cli",
    ),
}
PACKAGES = tuple(ORDER)
ONLY_PIPELINE = {"ray", "pydantic", "typer"}
MOST_FILES = 16
MORE_FILES = {"training/scenes": 17}
#: Who reads the keys of a run in `pipeline/`, beside the configuration's own room.
READ_CONFIGURATION = {
    "commands/info", "commands/run", "detectors/build", "executors/local", "executors/ray", "pipeline",
    "streams/base", "streams/build", "streams/supervised",
}  # fmt: skip
#: What everybody may name of the import root, which itself stands above all packages.
FROM_ROOT = {"groundstream.__version__"}

Graph = dict[str, set[str]]


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def dotted(path: Path) -> str:
    """The name that a file is imported by: `groundstream.models.base`, `training.scenes.paste`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "training" else ("groundstream", *parts))


@cache
def imports(path: Path) -> set[str]:
    """What a file imports anywhere, for type checking too; `from a import b` is `a.b` here."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; say groundstream.<package>"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


MODULES = {dotted(path): path for path in files(*PACKAGES, "training")}
ROOMS = sorted({path.parent.relative_to(ROOT).as_posix() for path in MODULES.values()})


def module_of(name: str) -> str | None:
    """The file of ours that an imported name stands in; the room's `__init__` where the room is asked."""
    return next((n for n in (name, name.rpartition(".")[0]) if n in MODULES), None)


def wanted(module: str) -> set[str]:
    """The files of ours that a file imports."""
    found = {module_of(name) for name in imports(MODULES[module])}
    return {name for name in found if name is not None} - {module}


def room_of(module: str) -> str:
    """`operators.sinks` for `groundstream.operators.sinks.base`, `models.types` for a file beside rooms."""
    return ".".join(module.removeprefix("groundstream.").split(".")[:2])


def levels() -> dict[str, int]:
    """The place of each room, counted through all packages from the bottom."""
    lines = [
        [f"{package}.{name}" for name in line.split()] for package in PACKAGES for line in ORDER[package]
    ]
    return {room: level for level, line in enumerate(lines) for room in line}


def assert_no_circle(graph: Graph) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " -> ".join(reversed(error.args[1])), pytrace=False)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_rooms_point_one_way(package: str) -> None:
    place, wrong = levels(), []
    for path in files(package):
        room = room_of(dotted(path))
        if room in PACKAGES:
            assert not wanted(dotted(path)), f"{package}/__init__.py imports something"
            continue
        if room not in place:
            wrong.append(f"{path.relative_to(ROOT)}: say in ORDER where {room} belongs")
            continue
        others = {name: room_of(name) for name in wanted(dotted(path))}
        wrong += [
            f"{path.relative_to(ROOT)} imports {name}"
            for name, other in sorted(others.items())
            if other != room and place.get(other, len(place)) >= place[room]
        ]
    assert not wrong, "imports point down:\n" + "\n".join(wrong)


def test_there_is_no_circle_between_files() -> None:
    assert_no_circle({module: wanted(module) for module in MODULES})


def test_there_is_no_circle_between_rooms() -> None:
    graph: Graph = {}
    for module in MODULES:
        room = room_of(module)
        graph.setdefault(room, set()).update({room_of(name) for name in wanted(module)} - {room})
    assert_no_circle(graph)


def test_who_may_import_what() -> None:
    for path in files(*PACKAGES, "src"):
        where, names = path.relative_to(ROOT), imports(path)
        roots = {name.split(".")[0] for name in names}
        bare = roots & {*PACKAGES, "configs"}
        assert not bare, f"{where}: say groundstream.{min(bare)}"
        assert "training" not in roots, f"{where} imports training/, which is in no wheel"
        heavy = roots & ONLY_PIPELINE
        assert where.parts[0] == "pipeline" or not heavy, f"{where}: {heavy} belongs to pipeline/"
        root = {name for name in names if name.startswith("groundstream.") and name.count(".") == 1}
        assert root <= FROM_ROOT, f"{where} imports {root} from the import root; say the module"


def test_few_read_the_configuration() -> None:
    """All else is handed values: an option that is renamed, or a part that moves, is found in few places."""
    from groundstream.pipeline.config.run import RunConfig

    key_of_a_run = re.compile(rf"config\.({'|'.join(RunConfig.model_fields)})\b")
    read_by = {
        path.relative_to(ROOT / "pipeline").with_suffix("").as_posix()
        for path in files("pipeline")
        if path.parent.name != "config" and key_of_a_run.search(path.read_text(encoding="utf-8"))
    }
    assert read_by == READ_CONFIGURATION


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_small_and_says_what_lives_in_it(room: str) -> None:
    held = [path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"]
    assert len(held) <= MORE_FILES.get(room, MOST_FILES), f"{room}/ holds {len(held)} files"
    says = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(says.split()) >= 5, f"{room}/__init__.py does not say what lives there: {says!r}"


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
    heavy = "('torch', 'transformers', 'av', 'cv2', 'supervision', 'numpy', 'redis', 'kornia', 'pydantic')"
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
