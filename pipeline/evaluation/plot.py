"""The temporal benchmark as a picture: AP50 by corruption and by motion, one bar per variant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a picture is written, nothing is shown

from matplotlib import pyplot as plt

from groundstream.pipeline.evaluation.benchmark import Outcome

#: rows of the table that are no AP50.
_OTHER = {"ghosts", "score change", "lag", "HOTA", "IDF1", "switches"}


def plot(outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Write a picture with a panel per kind of footage to `path`."""
    figure, panels = plt.subplots(len(outcomes), 1, figsize=(11, 3.6 * len(outcomes)), squeeze=False)
    for panel, (title, outcome) in zip(panels[:, 0], outcomes.items(), strict=True):
        table = outcome.table()
        questions = [name for name in next(iter(table.values())) if name not in _OTHER]
        width = 0.8 / len(table)
        for number, (variant, values) in enumerate(table.items()):
            places = [place + width * (number - len(table) / 2 + 0.5) for place in range(len(questions))]
            panel.bar(places, [values[name] for name in questions], width, label=variant)
        panel.set_xticks(range(len(questions)), questions, rotation=30, ha="right")
        panel.set_ylabel("AP50, %")
        panel.set_ylim(0, 118)  # room for the legend above full bars
        panel.set_title(f"{title} clips")
        panel.legend(ncols=len(table), fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
