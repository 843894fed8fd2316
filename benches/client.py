"""What a message costs a client, for smtpx and its peers.

``python -m benches.client`` (some fifteen minutes; ``--quick`` is a smoke of seconds) has each client of
``benches.senders`` send the same message, alternated round by round: to Postfix's ``smtp-sink``, where CPU
time of the client's process is compared, and over a line of 20 ms (``benches.proxy``), where messages a
second are. Where CPU is compared, client and server are pinned, to one core or to two: to wake a process on
another core costs more, and left to the scheduler the figures swing. It writes the raw figures
(``docs/client.json``), the tables of medians (between the markers in ``docs/benchmarks.md`` and
``README.md``) and the plot (``docs/client.svg``).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benches import peers, plot, process, publish
from benches.publish import Bar
from benches.senders import (
    AIOSMTPLIB,
    BARE,
    CLIENT,
    FILE,
    NAMES,
    POOL,
    SMTPLIB,
    SOURCE,
    SYNC_CLIENT,
    Job,
    run,
    write_message,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Load:
    """Messages of a size, to a server; `distant` ones are counted by the second, others by their CPU.

    `cores` are the server's and the client's, by their place among those that we may use.
    """

    title: str
    size: int
    connections: int
    messages: int
    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    server: str = peers.SINK
    distant: bool = False
    cores: tuple[int, int] | None = None


PLACED = (
    Load(
        "4 KiB, one connection",
        4 * KIB,
        1,
        8000,
        (CLIENT, SYNC_CLIENT, SMTPLIB, AIOSMTPLIB, SOURCE, BARE),
        (
            Bar(CLIENT, SOURCE, most=1.0),
            Bar(CLIENT, AIOSMTPLIB, most=0.35),
            Bar(CLIENT, SMTPLIB, most=0.55),
            Bar(SYNC_CLIENT, SMTPLIB, most=0.35),
            Bar(BARE, SMTPLIB),
        ),
    ),
    Load(
        "4 KiB, 20 connections",
        4 * KIB,
        20,
        8000,
        (POOL, AIOSMTPLIB, SOURCE),
        (Bar(POOL, SOURCE, most=1.2), Bar(POOL, AIOSMTPLIB, most=0.2)),
    ),
    Load(
        "1 MiB",
        MIB,
        1,
        400,
        (CLIENT, SYNC_CLIENT, SMTPLIB, AIOSMTPLIB, SOURCE, BARE),
        (
            Bar(CLIENT, SMTPLIB, most=0.2),
            Bar(CLIENT, AIOSMTPLIB, most=0.1),
            Bar(SYNC_CLIENT, SMTPLIB, most=0.1),
            Bar(BARE, SMTPLIB),
        ),
    ),
)
SAME_CORE, APART = (
    tuple(replace(load, title=f"{load.title}, {placement}", cores=cores) for load in PLACED)
    for placement, cores in (("same core", (0, 0)), ("apart", (0, 1)))
)
DISTANT = Load(
    "20 ms away, DATA",
    4 * KIB,
    20,
    5000,
    (POOL, AIOSMTPLIB),
    (Bar(POOL, AIOSMTPLIB, least=1.8),),
    distant=True,
)
DISTANT_LOADS = (
    DISTANT,
    replace(
        DISTANT,
        title="20 ms away, CHUNKING",
        bars=(Bar(POOL, AIOSMTPLIB, least=3.0),),
        server=peers.SMTPX + peers.UVLOOP,
    ),
)
LOADS = (*SAME_CORE, *APART, *DISTANT_LOADS)

UNITS = (
    "CPU microseconds a message, client and server on the same core or each on its own; where the server is "
    "20 ms away, messages a second over 20 connections: medians of {rounds} rounds; {conditions}."
)

Samples = dict[str, list[float]]


def measure(load: Load, names: Sequence[str], rounds: int, share: float) -> Samples:
    """Run one load, one client after the other in every round."""
    samples: Samples = {name: [] for name in names}
    messages = max(load.connections, int(load.messages * share))
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        file = write_message(Path(directory), load.size)
        cores = sorted(os.sched_getaffinity(0))
        if load.cores is not None:
            server, client = (cores[place % len(cores)] for place in load.cores)
            with process.on_core(server):
                port = stack.enter_context(peers.running(load.server)).port
            stack.enter_context(process.on_core(client))
        else:
            port = stack.enter_context(peers.running(load.server)).port
        if load.distant:
            port, _ = stack.enter_context(peers.listening("benches.proxy", str(port)))
        job = Job(port, load.connections, messages, file)
        for name in publish.turns(names, rounds):
            samples[name].append(messages / run(name, job).seconds if load.distant else cpu_us(name, job))
    return samples


def cpu_us(name: str, job: Job) -> float:
    """Return the CPU microseconds a message: of a run, less those of one that ends when all is warm."""
    warm = max(job.connections, job.messages // 10)
    start = run(name, replace(job, messages=warm)).cpu_seconds
    return (run(name, replace(job, messages=warm + job.messages)).cpu_seconds - start) * 1e6 / job.messages


def medians(results: dict[str, Samples]) -> publish.Figures:
    return {
        load: {name: median(figures) for name, figures in samples.items()}
        for load, samples in results.items()
    }


def memory(names: Sequence[str], large: int, huge: int) -> str:
    """Format by how much the peak of each client's memory grows from a message of 4 KiB to a large one."""
    lines = ["| client | message | growth MiB | copies | bar | |", "|---|---|--:|--:|--:|---|"]
    with tempfile.TemporaryDirectory() as directory, peers.running(peers.SINK) as sink:
        small = write_message(Path(directory), 4 * KIB)

        def growth(name: str, size: int) -> float:
            job = Job(sink.port, 1, 1, write_message(Path(directory), size))
            return (run(name, job).peak_kib - run(name, replace(job, file=small)).peak_kib) / KIB

        def line(name: str, size: int, grown: float, judged: str) -> None:
            copies = grown * MIB / size
            lines.append(f"| {name} | {size // MIB} MiB | {grown:.1f} | {copies:.2f} {judged}")

        for name in names:
            if name in (CLIENT, SYNC_CLIENT, SMTPLIB, AIOSMTPLIB):
                grown = growth(name, large)
                bar = "<= 2 copies" if name in (CLIENT, SYNC_CLIENT) else None
                line(name, large, grown, publish.verdict(bar, met=grown * MIB <= 2 * large))
        for name in names:
            if name in (CLIENT, SYNC_CLIENT):
                before, grown = growth(FILE + name, large), growth(FILE + name, huge)
                line(FILE + name, large, before, publish.verdict(None, met=True))
                line(FILE + name, huge, grown, publish.verdict("no more", met=grown <= before + 1))
    return "\n".join(lines)


def panels(figures: publish.Figures) -> publish.Figures:
    """Return the figures for the plot, where shorter is better."""
    last = DISTANT.messages
    distant = {
        f"{name}, {load.title.rpartition(' ')[2]}": last / figures[load.title][name]
        for name in DISTANT.names
        for load in DISTANT_LOADS
    }
    cpu = {f"{load.title}: CPU µs a message": figures[load.title] for load in APART}
    return {**cpu, f"{last:,} messages, 20 connections, 20 ms away: seconds": distant}


def main() -> None:
    arguments = publish.options("client", "Client CPU a message, and the rest.", NAMES).parse_args()
    chosen = arguments.only or NAMES
    rounds, share = (1, 0.05) if arguments.quick else (arguments.rounds, 1.0)
    results: dict[str, Samples] = {}
    for load in LOADS:
        names = [name for name in load.names if name in chosen]
        if names:
            print(f"{load.title} ...", flush=True)
            results[load.title] = measure(load, names, rounds, share)
    figures = medians(results)
    summary = publish.summary("client", figures)
    verdicts = publish.verdicts("client", {load.title: load.bars for load in LOADS}, figures)
    peaks = memory(chosen, *((4 * MIB, 16 * MIB) if arguments.quick else (64 * MIB, 256 * MIB)))
    print(summary, verdicts, peaks, sep="\n\n")
    if arguments.quick or arguments.only:
        return
    publish.raw("client", loads=results)
    plot.draw("Clients", panels(figures), publish.DOCS / "client.svg")
    units = UNITS.format(rounds=rounds, conditions=publish.conditions())
    publish.section("client", f"{summary}\n\n{units}")
    publish.section("client-details", f"{verdicts}\n\n{peaks}")


if __name__ == "__main__":
    main()
