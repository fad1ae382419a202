"""Unpacking Qt resource files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from training.data.rcc import unpack_rcc

FOLDER, COMPRESSED, ZSTANDARD = 2, 1, 4


def archive(flags: int = COMPRESSED, name: str = "a.txt") -> bytes:
    """A resource file with `folder/NAME`."""
    names, places = b"", []
    for each in ("folder", name):
        places.append(len(names))
        names += struct.pack(">HI", len(each), 0) + each.encode("utf-16-be")
    content = b"hello " * 9
    piece = struct.pack(">I", len(content)) + zlib.compress(content) if flags & COMPRESSED else content
    data = struct.pack(">I", len(piece)) + piece
    nodes = [
        struct.pack(">IHII", 0, FOLDER, 1, 1),
        struct.pack(">IHII", places[0], FOLDER, 1, 2),
        struct.pack(">IHHHI", places[1], flags, 0, 0, 0),
    ]
    tree = b"".join(node + b"\0" * (22 - len(node)) for node in nodes)
    head = struct.pack(">4sIIII", b"qres", 2, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return head + tree + data + names


@pytest.mark.parametrize("flags", [0, COMPRESSED])
def test_files_come_out_where_they_were(tmp_path: Path, flags: int) -> None:
    (tmp_path / "x.rcc").write_bytes(archive(flags))
    unpack_rcc(tmp_path / "x.rcc", tmp_path / "out")
    assert (tmp_path / "out" / "folder" / "a.txt").read_bytes() == b"hello " * 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK" + bytes(30), "a Qt resource file of version 2 or 3"),
        (archive(ZSTANDARD), "packed by zlib"),
        (archive(name="../../../b"), "lies outside of its folder"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.rcc").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        unpack_rcc(tmp_path / "x.rcc", tmp_path / "out")
