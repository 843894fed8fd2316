"""The load as a plot: a panel a load, a bar a server."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from benches.load import Sample

OURS, THEIRS = "#c2410c", "#94a3b8"


def draw(results: dict[str, dict[str, Sample]], path: Path) -> None:
    """Write the SVG; the same figures give the same file."""
    mpl.rcParams.update(
        {"svg.hashsalt": "smtpx", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    )
    figure = Figure(figsize=(10, 6), layout="constrained")
    figure.suptitle("Server CPU a message, microseconds (shorter is better)")
    for axes, (load, samples) in zip(figure.subplots(2, 2).flat, results.items(), strict=True):
        names = list(samples)[::-1]
        values = [median(samples[name].cpu_us) for name in names]
        colours = [OURS if name.startswith("smtpx") else THEIRS for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4)
        axes.set_title(load, loc="left", fontweight="bold", fontsize=10)
        axes.set_xlim(0, max(values) * 1.2)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(left=False)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
