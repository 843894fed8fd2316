"""What the benchmarks share: their options, their verdicts, and where their tables are put.

A table stands in the pages between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (DOCS / "benchmarks.md", ROOT / "README.md")


def options(name: str, description: str) -> argparse.ArgumentParser:
    """Return the options of ``python -m benches.<name>``, to which it may add."""
    parser = argparse.ArgumentParser(prog=f"python -m benches.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke of seconds, nothing written")
    return parser


def verdict(bar: str | None, *, met: bool) -> str:
    """Return the two last cells of a table's line; None is a figure that is reported, without a bar."""
    return "| |" if bar is None else f"| {bar} | {'met' if met else 'MISSED'} |"


def section(name: str, text: str) -> None:
    """Replace the section of that name in every page that has one."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    for page in PAGES:
        if page.exists():
            old = page.read_text(encoding="utf-8")
            page.write_text(marked.sub(lambda m: f"{m[1]}{text.strip()}\n{m[2]}", old), encoding="utf-8")


def conditions() -> str:
    """Say on what the figures were taken."""
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{cpu_model()}, {os.cpu_count()} cores, Linux {kernel}, Python {python}"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
