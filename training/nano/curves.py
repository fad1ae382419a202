"""Draws the log of a training as an SVG picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 240, 36
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
#: columns of the log that are no curves.
PLACES = frozenset(("time_s", "step", "round", "epoch"))


def draw_curves(log: Path, picture: Path) -> None:
    """Draw every number of every step of `log` (JSON lines) over the epochs, a panel per step."""
    curves: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        for name in entry.keys() - PLACES:
            curves[entry["step"]][name].append(float(entry[name]))
    panels = [_panel(row, step, curves[step]) for row, step in enumerate(curves)]
    height = HEIGHT * max(len(panels), 1)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">'
    )
    picture.write_text("\n".join([head, *panels, "</svg>\n"]))


def _panel(row: int, step: str, curves: dict[str, list[float]]) -> str:
    top = max(max(values) for values in curves.values()) or 1.0
    low, high = (row + 1) * HEIGHT - MARGIN, row * HEIGHT + MARGIN
    parts = [f'<text x="{MARGIN}" y="{high - 12}" font-size="13">{step}, 0 to {top:.3g}</text>']
    for number, (name, values) in enumerate(sorted(curves.items())):
        color, count = COLORS[number % len(COLORS)], max(len(values) - 1, 1)
        points = " ".join(
            f"{MARGIN + (WIDTH - 2 * MARGIN) * n / count:.1f},{low - (low - high) * value / top:.1f}"
            for n, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        place = f'x="{WIDTH - 150}" y="{high + 14 * (number + 1)}"'
        parts.append(f'<text {place} font-size="12" fill="{color}">{name} {values[-1]:.3g}</text>')
    return "\n".join(parts)
