import re
import shutil
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundstream.pipeline.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
]
FOLDERS = "models|operators|pipeline|training|tests|benchmarks|configs|docs|src"
PACKAGES = [ROOT / name for name in ("models", "operators", "pipeline", "training")]
#: A paragraph that names files of the repository a model was ported from.
ELSEWHERE = re.compile(r"\bSource: .*?(?:\n\n|\Z)", re.DOTALL)


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


def test_no_two_runs_of_the_readme_write_into_the_same_folder() -> None:
    events = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    for text in (README, README[: README.index("## Python")] + events):
        runs = re.findall(r"(?:groundstream run .*--out |gs\.run\(.*out=\")(\w+)", text)
        assert len(runs) >= 2
        assert sorted(set(runs)) == sorted(runs)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def names_in(path: Path) -> set[str]:
    """What stands between backticks, without what is no name (blocks of code, commands)."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return set(re.findall(r"`([^`\s]+)`", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_files_that_a_page_names_exist(path: Path) -> None:
    """Paths from the root of the checkout; a name that holds a place for another (`NAME`, `*`) is no path."""
    named = {name for name in names_in(path) if re.fullmatch(rf"({FOLDERS})/[\w./-]*", name)}
    gone = sorted(name for name in named if not (ROOT / name).exists())
    assert not gone, f"{path.name} names what is not there: {gone}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_modules_that_a_page_names_exist(path: Path) -> None:
    """`groundstream.x.y.Name` and `python -m groundstream.x.y` anywhere in a page, code included."""
    text, gone = path.read_text(encoding="utf-8"), []
    for name in sorted(set(re.findall(r"\b(?:groundstream|training)(?:\.[A-Za-z_]\w*)+", text))):
        parts = name.removeprefix("groundstream.").split(".")
        if parts[0] in FOLDERS.split("|") and not any(
            is_module(parts[:n]) for n in (len(parts), len(parts) - 1)
        ):
            gone.append(name)
    assert not gone, f"{path.name} names modules that are not there: {gone}"


def is_module(parts: list[str]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_names_that_a_page_places_are_there(path: Path) -> None:
    """`Name.method` or `Name.field` in `operators/some/file.py`: both are defined in that file."""
    text, gone = path.read_text(encoding="utf-8"), []
    for name, file in re.findall(
        rf"`([A-Za-z_][\w.]*)`[^`\n]{{0,40}}\bin\s`((?:{FOLDERS})/[\w/]+\.py)`", text
    ):
        code = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        parts = name.split(".")
        if not all(
            re.search(rf"^\s*(?:class|def) {part}\b|^{part}\b.*=|^    {part}: ", code, re.MULTILINE)
            for part in parts
        ):
            gone.append(f"{name} in {file}")
    assert not gone, f"{path.name} names what is not there: {gone}"


def told_in(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a source file."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and '"""' in token.string):
                yield token.string


def is_file(name: str, named_by: Path) -> bool:
    """Tell whether a file is there, from the root, a package, or a folder above the one that names it."""
    places = [ROOT, *PACKAGES, *(above for above in named_by.parents if above.is_relative_to(ROOT))]
    return any((place / name).exists() for place in places)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_files_that_the_code_names_exist(package: Path) -> None:
    """`operators/sources/decode.py`, `text/cache.py`, `decode.py`: in docstrings and comments.

    `modeling_owlvit.py` and its like are files of transformers.
    """
    gone = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(package.rglob("*.py"))
        for text in told_in(path)
        for name in re.findall(r"`((?!modeling_)[\w/.-]+\.(?:py|md))`", ELSEWHERE.sub("", text))
        if not is_file(name, path)
    ]
    assert not gone, f"names what is not there: {gone}"
