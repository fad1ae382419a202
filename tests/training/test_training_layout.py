"""The rooms of training/ import one way, and are small."""

import ast
from pathlib import Path

import pytest

ROOMS = Path(__file__).parents[2] / "training"
#: each may import itself and what stands before it.
ORDER = ("scenes", "data", "glip", "nano", "temporal", "bench")


def test_every_room_is_ordered() -> None:
    assert {path.parent.name for path in ROOMS.glob("*/__init__.py")} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_one_way(room: str) -> None:
    allowed = ORDER[: ORDER.index(room) + 1]
    files = sorted((ROOMS / room).glob("*.py"))
    assert len(files) <= 16, "a room of its own?"
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            rooms = [name.split(".")[1] for name in names if name.startswith("training.")]
            wrong = [name for name in rooms if name not in allowed]
            assert not wrong, f"{path.name} imports {wrong}"
