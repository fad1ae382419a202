"""Families by name, imported only when one is asked for."""

from __future__ import annotations

#: family -> (module, class); every class has `from_name(name, *, device, dtype, size_px) -> Grounder`.
FAMILIES: dict[str, tuple[str, str]] = {
    "fake": ("groundstream.models.fake", "FakeGrounder"),
}
