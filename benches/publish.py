"""What the benchmarks share: their options, their turns, their verdicts, and where their figures are put.

A table stands in the pages between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (DOCS / "benchmarks.md", ROOT / "README.md")
ROUNDS = 5

Figures: TypeAlias = "Mapping[str, Mapping[str, float]]"  # by load, by name

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bar:
    """How often ours may be a peer's figure at most, or must be at least; with neither it is reported."""

    own: str
    peer: str
    most: float | None = None
    least: float | None = None

    def line(self, figures: Mapping[str, float]) -> str:
        """Return the cells of both names, of the ratio and of the verdict."""
        ratio = figures[self.own] / figures[self.peer]
        if self.most is not None:
            judged = verdict(f"<= {self.most}x", met=ratio <= self.most)
        elif self.least is not None:
            judged = verdict(f">= {self.least}x", met=ratio >= self.least)
        else:
            judged = verdict(None, met=True)
        return f"| {self.own} | {self.peer} | {ratio:.3f}x {judged}"


def options(name: str, description: str, names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the options of ``python -m benches.<name>``, which compares these names in rounds."""
    parser = argparse.ArgumentParser(prog=f"python -m benches.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke of seconds, nothing written")
    if names:
        parser.add_argument("--rounds", type=int, default=ROUNDS)
        parser.add_argument("--only", action="append", choices=names, help="only these; nothing written")
    return parser


def turns(items: Sequence[_T], rounds: int) -> Iterator[_T]:
    """Give all items in each round, and in each round another first: the machine's moods fall on all."""
    for number in range(rounds):
        first = number % len(items)
        yield from items[first:]
        yield from items[:first]


def verdict(bar: str | None, *, met: bool) -> str:
    """Return the two last cells of a table's line; None is a figure that is reported, without a bar."""
    return "| |" if bar is None else f"| {bar} | {'met' if met else 'MISSED'} |"


def verdicts(what: str, bars: Mapping[str, Sequence[Bar]], figures: Figures) -> str:
    """Format the bars of each load, those whose names were both measured."""
    lines = [f"| load | {what} | against | ratio | bar | |", "|---|---|---|--:|--:|---|"]
    for load, of_load in figures.items():
        measured = [bar for bar in bars[load] if bar.own in of_load and bar.peer in of_load]
        lines += [f"| {load} {bar.line(of_load)}" for bar in measured]
    return "\n".join(lines)


def summary(what: str, figures: Figures) -> str:
    """Format a line a name, a column a load."""
    lines = [f"| {what} | " + " | ".join(figures) + " |", "|---|" + "--:|" * len(figures)]
    for name in dict.fromkeys(name for of_load in figures.values() for name in of_load):
        cells = [f"{of_load[name]:,.0f}" if name in of_load else "" for of_load in figures.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def section(name: str, text: str) -> None:
    """Replace the section of that name in every page that has one."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    for page in PAGES:
        if page.exists():
            old = page.read_text(encoding="utf-8")
            page.write_text(marked.sub(lambda m: f"{m[1]}{text.strip()}\n{m[2]}", old), encoding="utf-8")


def raw(name: str, **figures: Any) -> None:
    """Write the raw figures to ``docs/<name>.json``, and the machine that they are of."""
    machine = {"python": platform.python_version(), "kernel": platform.release(), "cpu": cpu_model()}
    (DOCS / f"{name}.json").write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")


def conditions() -> str:
    """Say on what the figures were taken."""
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{cpu_model()}, {os.cpu_count()} cores, Linux {kernel}, Python {python}"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
