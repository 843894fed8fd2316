"""The native parsers against the reference, as a table.

``python -m benches.parsers`` runs ``benches/test_parsers.py`` under pytest-benchmark and writes the medians,
their ratio and the bar between the markers of ``docs/benchmarks.md`` and ``README.md``. ``--quick`` is a
smoke of seconds that writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benches import publish


def run(*, quick: bool) -> dict[str, Any]:
    """Run the benchmarks; return pytest-benchmark's report."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        options = [
            f"--benchmark-json={report}",
            "--benchmark-disable-gc",
            "--benchmark-quiet",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        options += (
            ["--benchmark-max-time=0.05", "--benchmark-min-rounds=1"] if quick else ["--benchmark-warmup=on"]
        )
        failed = pytest.main([*options, str(Path(__file__).with_name("test_parsers.py"))])
        if failed:
            sys.exit(failed)
        result: dict[str, Any] = json.loads(report.read_text())
        return result


def table(report: dict[str, Any]) -> str:
    """Format a line a group: medians in microseconds for each input of the group, the ratio and the bar."""
    medians: dict[str, dict[str, float]] = {}
    bars: dict[str, float | None] = {}
    for benchmark in report["benchmarks"]:
        extra = benchmark["extra_info"]
        group = benchmark["group"]
        microseconds = benchmark["stats"]["median"] * 1e6 / extra["inputs"]
        medians.setdefault(group, {})[extra["side"]] = microseconds
        bars[group] = extra["bar"]
    lines = ["| input | native µs | reference µs | ratio | bar | |", "|---|--:|--:|--:|--:|---|"]
    for group, sides in medians.items():
        native, reference = sides["native"], sides["reference"]
        ratio = reference / native
        bar = bars[group]
        judged = "| |" if bar is None else f"| >= {bar}x | {'met' if ratio >= bar else 'MISSED'} |"
        lines.append(f"| {group} | {native:,.3f} | {reference:,.3f} | {ratio:.1f}x {judged}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benches.parsers", description="Native against reference."
    )
    parser.add_argument("--quick", action="store_true", help="a smoke: short rounds, nothing written")
    quick = parser.parse_args().quick
    text = table(run(quick=quick))
    print(text)
    if not quick:
        publish.section("parsers", f"{publish.conditions()}\n\n{text}")


if __name__ == "__main__":
    main()
