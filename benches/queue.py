"""What the queue's storage does by itself: durable saves, and claims with a million recipients waiting.

``python -m benches.queue``. Figures depend on the disk: what one fsync of it takes is printed with them.
Saves are of messages of 4 KiB to one recipient, by tasks that save one after the other; claims take 100
recipients a time. ``--directory`` names a folder on the disk to be measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from smtpx import LocalStorage, MailTx, SQLiteStorage
from smtpx.mail import new_id

from benches import publish
from benches.process import memory_kib

if TYPE_CHECKING:
    from collections.abc import Callable

SAVERS = (1, 20, 100)
CONTENT = b"Subject: benchmark\r\n\r\n" + b"x" * 72 * 55 + b"\r\n"
SHAPES = {"one destination": 1, "100,000 destinations": 100_000}
LEASE = timedelta(minutes=10)
CLAIMS = 200
BARS = {"claim, median ms": 5.0, "claim, p99 ms": 5.0, "start-up, s": 2.0, "memory, MB": 100.0}


def fsync_ms(directory: Path) -> float:
    """Return what one write of 4 KiB with its fsync takes, in the median of 200."""
    taken = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


async def saves(storage: LocalStorage | SQLiteStorage, savers: int, seconds: float) -> float:
    """Return messages a second."""
    count = 0
    end = time.perf_counter() + seconds

    async def save() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await storage.mail_save(MailTx("a@sender.example", [f"u{count}@example.org"], CONTENT))
            count += 1

    async with storage:
        began = time.perf_counter()
        await asyncio.gather(*(save() for _ in range(savers)))
        return count / (time.perf_counter() - began)


def measure_saves(directory: Path, seconds: float) -> list[str]:
    storages: dict[str, Callable[[Path], LocalStorage | SQLiteStorage]] = {
        "LocalStorage": lambda folder: LocalStorage(folder, reserve=0),
        "SQLiteStorage": lambda folder: SQLiteStorage(folder / "queue.db", reserve=0),
    }
    lines = [
        "| durable saves a second | " + " | ".join(map(str, SAVERS)) + " |",
        "|---|" + "--:|" * len(SAVERS),
    ]
    figures: dict[str, list[str]] = {name: [] for name in storages}
    for savers in SAVERS:
        for name, make in storages.items():
            with tempfile.TemporaryDirectory(dir=directory) as folder:
                figures[name].append(f"{asyncio.run(saves(make(Path(folder)), savers, seconds)):,.0f}")
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in figures.items()]


async def fill(path: Path, recipients: int, destinations: int) -> None:
    """Queue so many messages to one recipient each, with a content of 100 octets, an hour ago."""
    async with SQLiteStorage(path, reserve=0) as storage:
        received = datetime.now(UTC) - timedelta(hours=1)
        for start in range(0, recipients, 1000):
            await asyncio.gather(
                *(
                    storage.mail_save(
                        MailTx(
                            "a@sender.example",
                            [f"u@d{number % destinations}.example"],
                            b"x" * 100,
                            id=new_id(),
                            received=received + timedelta(milliseconds=number),
                        )
                    )
                    for number in range(start, min(start + 1000, recipients))
                )
            )


async def claims(path: Path, count: int) -> dict[str, float]:
    """Open the queue and claim; in a process of its own."""
    before = time.perf_counter()
    async with SQLiteStorage(path, reserve=0) as storage:
        start_up = time.perf_counter() - before
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            claimed = await storage.claim(datetime.now(UTC), LEASE, 100)
            taken.append((time.perf_counter() - began) * 1000)
            assert len(claimed) == 100
        memory = memory_kib(os.getpid(), "VmHWM") / 1000
    return {
        "claim, first ms": taken[0],
        "claim, median ms": statistics.median(taken),
        "claim, p99 ms": statistics.quantiles(taken, n=100)[98],
        "start-up, s": start_up,
        "memory, MB": memory,
    }


def measure_claims(directory: Path, recipients: int) -> list[str]:
    lines = [f"| {recipients:,} recipients wait | figure | | bar | |", "|---|---|--:|--:|---|"]
    for shape, destinations in SHAPES.items():
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            path = Path(folder) / "queue.db"
            asyncio.run(fill(path, recipients, destinations))
            program = (
                "import asyncio, json, pathlib, sys; from benches import queue;"
                " print(json.dumps(asyncio.run(queue.claims(pathlib.Path(sys.argv[1]), int(sys.argv[2])))))"
            )
            count = str(min(CLAIMS, recipients // 200))
            ran = subprocess.run(
                [sys.executable, "-c", program, str(path), count], check=True, capture_output=True, text=True
            )
            figures: dict[str, float] = json.loads(ran.stdout)
        for name, figure in figures.items():
            bar = BARS.get(name)
            judged = publish.verdict(None if bar is None else f"<= {bar:g}", met=bar is None or figure <= bar)
            lines.append(f"| {shape} | {name} | {figure:.2f} {judged}")
    return lines


def main() -> None:
    options = publish.options("queue", "Durable saves and claims of the queue's storage.")
    options.add_argument("--directory", type=Path, default=Path())
    arguments = options.parse_args()
    quick = arguments.quick
    lines = measure_saves(arguments.directory, 0.3 if quick else 5)
    print("\n".join(lines), flush=True)
    claimed = measure_claims(arguments.directory, 20_000 if quick else 1_000_000)
    print("\n".join(claimed), flush=True)
    fsync = f"one fsync of 4 KiB took {fsync_ms(arguments.directory):.2f} ms"
    print(fsync)
    if not quick:
        publish.section("queue", "\n".join([*lines, "", *claimed, "", f"{fsync}; {publish.conditions()}."]))


if __name__ == "__main__":
    main()
