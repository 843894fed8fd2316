"""End-to-end load: what a message costs the server, for smtpx and its peers.

``python -m benches.load`` (some five minutes; ``--quick`` is a smoke of seconds) drives every server with
Postfix's ``smtp-source``, alternated round by round, and writes the raw figures (``docs/load.json``), the
tables of medians (between the markers in ``docs/benchmarks.md`` and ``README.md``) and the plot
(``docs/load.svg``). What is compared is CPU time of the server's process: the client runs on the same
machine, so the rate is bounded by both.
"""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benches import peers, plot, publish

ROUNDS = 5
SESSIONS = 20


@dataclass(frozen=True)
class Load:
    """What ``smtp-source`` sends, and the most smtpx on uvloop may cost of a peer (None: reported)."""

    title: str
    options: tuple[str, ...]
    messages: int
    bars: dict[str, float | None]


KEPT_BARS: dict[str, float | None] = {
    peers.SINK: 1.0,
    peers.AIOSMTPD: 0.1,
    peers.AIOSMTPD + peers.UVLOOP: None,
}
LOADS = (
    Load("4 KiB, kept connections", ("-d", "-l", "4096"), 3000, KEPT_BARS),
    Load("connection a message", ("-l", "4096"), 2000, {peers.SINK: 1.2}),
    Load("1 MiB", ("-d", "-l", "1048576"), 100, {peers.SINK: 0.15}),
    Load("50 recipients", ("-d", "-l", "4096", "-r", "50"), 300, {peers.SINK: 1.3}),
)


@dataclass
class Sample:
    """One server under one load, a figure a round; the peak is of the whole load."""

    cpu_us: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    peak_kib: int = 0


Results = dict[str, dict[str, Sample]]


def send(peer: peers.Peer, load: Load, messages: int) -> tuple[float, float]:
    """Send messages; return the server's CPU microseconds a message and the messages a second."""
    command = [
        peers.tool("smtp-source"),
        "-s",
        str(min(SESSIONS, messages)),
        "-m",
        str(messages),
        *load.options,
    ]
    before = peer.settled_cpu_seconds()
    start = time.perf_counter()
    subprocess.run([*command, f"inet:{peers.HOST}:{peer.port}"], check=True, timeout=300)
    elapsed = time.perf_counter() - start
    return (peer.settled_cpu_seconds() - before) * 1e6 / messages, messages / elapsed


def measure(load: Load, names: list[str], rounds: int, share: float) -> dict[str, Sample]:
    """Run one load against fresh servers, one after the other in every round."""
    messages = max(SESSIONS, int(load.messages * share))
    samples = {name: Sample() for name in names}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(peers.running(name)) for name in names]
        for server in servers:
            send(server, load, SESSIONS * 2)  # imports done, specialised bytecode, warm allocator
        for number in range(rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                cpu_us, rate = send(server, load, messages)
                samples[server.name].cpu_us.append(cpu_us)
                samples[server.name].rate.append(rate)
        for server in servers:
            samples[server.name].peak_kib = server.peak_kib()
    return samples


def medians(samples: dict[str, Sample]) -> dict[str, float]:
    """Return each server's CPU microseconds a message."""
    return {name: median(sample.cpu_us) for name, sample in samples.items()}


def summary(results: Results) -> str:
    """Format the CPU microseconds a message, a line a server."""
    lines = ["| server | " + " | ".join(results) + " |", "|---|" + "--:|" * len(results)]
    for name in next(iter(results.values())):
        cells = [f"{medians(samples)[name]:,.0f}" for samples in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(results: Results) -> str:
    """Format all medians, a table a load."""
    lines = []
    for load in LOADS:
        samples = results[load.title]
        sink = median(samples[peers.SINK].cpu_us) if peers.SINK in samples else None
        lines += [
            f"**{load.title}**",
            "",
            "| server | CPU µs a message | to smtp-sink | messages/s | peak MiB |",
            "|---|--:|--:|--:|--:|",
        ]
        for name, sample in samples.items():
            cpu = median(sample.cpu_us)
            ratio = f"{cpu / sink:.2f}x" if sink else ""
            peak = sample.peak_kib / 1024
            lines.append(f"| {name} | {cpu:,.0f} | {ratio} | {median(sample.rate):,.0f} | {peak:.1f} |")
        lines.append("")
    return "\n".join(lines)


def verdicts(results: Results) -> str:
    """Format the bars: the median of smtpx on uvloop over the peer's, and the most it may be."""
    lines = [f"| load | {peers.SMTPX}{peers.UVLOOP} against | CPU ratio | bar | |", "|---|---|--:|--:|---|"]
    for load in LOADS:
        samples = results[load.title]
        own = samples.get(peers.SMTPX + peers.UVLOOP)
        for name, bar in load.bars.items():
            if own is not None and name in samples:
                ratio = median(own.cpu_us) / median(samples[name].cpu_us)
                judged = publish.verdict(
                    None if bar is None else f"<= {bar}", met=bar is None or ratio <= bar
                )
                lines.append(f"| {load.title} | {name} | {ratio:.3f} {judged}")
    return "\n".join(lines)


def main() -> None:
    parser = publish.options("load", "Server CPU a message, by load.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--only", action="append", choices=peers.NAMES, help="only these servers; nothing written"
    )
    arguments = parser.parse_args()
    names = arguments.only or list(peers.NAMES)
    rounds, share = (1, 0.1) if arguments.quick else (arguments.rounds, 1.0)
    results: Results = {}
    for load in LOADS:
        print(f"{load.title} ...", flush=True)
        results[load.title] = measure(load, names, rounds, share)
    print(summary(results), verdicts(results), details(results), sep="\n\n")
    if arguments.quick or arguments.only:
        return
    raw = {
        load: {name: asdict(sample) for name, sample in samples.items()} for load, samples in results.items()
    }
    machine = {"python": platform.python_version(), "kernel": platform.release(), "cpu": publish.cpu_model()}
    Path(publish.DOCS / "load.json").write_text(
        json.dumps({"machine": machine, "loads": raw}, indent=1) + "\n"
    )
    plot.draw({load: medians(samples) for load, samples in results.items()}, publish.DOCS / "load.svg")
    conditions = f"CPU microseconds a message: medians of {rounds} rounds; {publish.conditions()}."
    publish.section("load", f"{summary(results)}\n\n{conditions}")
    publish.section("load-details", f"{verdicts(results)}\n\n{details(results)}")


if __name__ == "__main__":
    main()
