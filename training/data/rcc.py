"""Unpack a Qt resource file (`.rcc`): a tree of names, each with a piece of data that may be compressed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_NODE_BYTES = 22
_COMPRESSED, _FOLDER, _ZSTANDARD = 1, 2, 4


def unpack_rcc(archive: Path, target: Path) -> None:
    """Write all files of `archive` below the folder `target`.

    Raises:
        ValueError: it is no resource file of version 2 or 3, or is packed in another way than by zlib.
    """
    content = archive.read_bytes()
    magic, version, tree, data, names = struct.unpack(">4sIIII", content[:20])
    if magic != b"qres" or version not in (2, 3):
        raise ValueError(f"expected a Qt resource file of version 2 or 3, but {archive} is none")
    for path, start in _files(content, tree, names, 0, Path()):
        flags, where = start
        out = target / path
        if not out.resolve().is_relative_to(target.resolve()):
            raise ValueError(f"{archive} holds {path}, which lies outside of its folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(_piece(content, data + where, flags))


def _files(
    content: bytes, tree: int, names: int, node: int, folder: Path
) -> Iterator[tuple[Path, tuple[int, int]]]:
    at = tree + node * _NODE_BYTES
    name_at, flags = struct.unpack(">IH", content[at : at + 6])
    path = folder / _name(content, names + name_at) if node else folder
    if flags & _FOLDER:
        count, first = struct.unpack(">II", content[at + 6 : at + 14])
        for child in range(first, first + count):
            yield from _files(content, tree, names, child, path)
    else:
        yield path, (flags, struct.unpack(">I", content[at + 10 : at + 14])[0])


def _name(content: bytes, at: int) -> str:
    length = struct.unpack(">H", content[at : at + 2])[0]
    return content[at + 6 : at + 6 + 2 * length].decode("utf-16-be")


def _piece(content: bytes, at: int, flags: int) -> bytes:
    if flags & _ZSTANDARD:
        raise ValueError("expected data packed by zlib, but it is packed by zstandard")
    size = struct.unpack(">I", content[at : at + 4])[0]
    piece = content[at + 4 : at + 4 + size]
    # Compressed pieces begin with four bytes of their later size.
    return zlib.decompress(piece[4:]) if flags & _COMPRESSED else piece
