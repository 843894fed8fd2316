"""Loads as a plot: a panel a load, a bar a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from benches.publish import Figures

OURS, THEIRS = "#c2410c", "#94a3b8"


def draw(title: str, loads: Figures, path: Path) -> None:
    """Write the SVG of four loads; the same figures give the same file."""
    mpl.rcParams.update(
        {"svg.hashsalt": "smtpx", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    )
    figure = Figure(figsize=(10, 6), layout="constrained")
    figure.suptitle(f"{title} (shorter is better)")
    for axes, (load, figures) in zip(figure.subplots(2, 2).flat, loads.items(), strict=True):
        names = list(figures)[::-1]
        values = [figures[name] for name in names]
        colours = [OURS if name.startswith("smtpx") else THEIRS for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4)
        axes.set_title(load, loc="left", fontweight="bold", fontsize=10)
        axes.set_xlim(0, max(values) * 1.2)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(left=False)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
