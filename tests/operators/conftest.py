"""Real clips, made by PyAV when a test asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_maker import ClipMaker, make_clip


@pytest.fixture
def clip(tmp_path: Path) -> ClipMaker:
    def make(name: str = "clip.mp4", **options: object) -> Path:
        return make_clip(tmp_path / name, **options)  # type: ignore[arg-type]

    return make
