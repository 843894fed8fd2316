"""The native parsers against the reference, as a table.

``python -m benches.parsers`` runs ``benches/test_parsers.py`` under pytest-benchmark and writes the medians,
their ratio and the bar between the markers of ``docs/benchmarks.md`` and ``README.md``. ``--quick`` is a
smoke of seconds that writes nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benches import publish

Rounds = dict[str, dict[str, list[float]]]


def run(rounds: int, seconds: float) -> tuple[Rounds, dict[str, float | None]]:
    """Run all groups, again and again; return each side's medians in microseconds an input, and the bars."""
    medians: Rounds = {}
    bars: dict[str, float | None] = {}
    for _ in range(rounds):
        for benchmark in _benchmarks(seconds):
            extra, group = benchmark["extra_info"], benchmark["group"]
            microseconds = benchmark["stats"]["median"] * 1e6 / extra["inputs"]
            medians.setdefault(group, {}).setdefault(extra["side"], []).append(microseconds)
            bars[group] = extra["bar"]
    return medians, bars


def _benchmarks(seconds: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        options = [
            f"--benchmark-json={report}",
            f"--benchmark-max-time={seconds}",
            "--benchmark-min-rounds=3",
        ]
        options += ["--benchmark-disable-gc", "--benchmark-quiet", "-q", "-p", "no:cacheprovider"]
        failed = pytest.main([*options, str(Path(__file__).with_name("test_parsers.py"))])
        if failed:
            sys.exit(failed)
        benchmarks: list[dict[str, Any]] = json.loads(report.read_text())["benchmarks"]
        return benchmarks


def table(medians: Rounds, bars: dict[str, float | None]) -> str:
    """Format a line a group; the ratio is the median of the rounds' ratios: a busy moment spoils one."""
    lines = ["| input | native µs | reference µs | ratio | bar | |", "|---|--:|--:|--:|--:|---|"]
    for group, sides in medians.items():
        native, reference = sides["native"], sides["reference"]
        ratio = median(theirs / ours for ours, theirs in zip(native, reference, strict=True))
        bar = bars[group]
        judged = publish.verdict(None if bar is None else f">= {bar}x", met=bar is None or ratio >= bar)
        lines.append(f"| {group} | {median(native):,.3f} | {median(reference):,.3f} | {ratio:.1f}x {judged}")
    return "\n".join(lines)


def main() -> None:
    quick = publish.options("parsers", "Native against reference.").parse_args().quick
    text = table(*(run(1, 0.05) if quick else run(publish.ROUNDS, 0.3)))
    print(text)
    if not quick:
        publish.section("parsers", f"{text}\n\nMicroseconds a call, medians; {publish.conditions()}.")


if __name__ == "__main__":
    main()
