"""End-to-end load: what a message costs the server, for smtpx and its peers.

``python -m benches.load`` (some five minutes; ``--quick`` is a smoke of seconds) drives every server with
Postfix's ``smtp-source``, alternated round by round, and writes the raw figures (``docs/load.json``), the
tables of medians (between the markers in ``docs/benchmarks.md`` and ``README.md``) and the plot
(``docs/load.svg``). What is compared is CPU time of the server's process: the client runs on the same
machine, so the rate is bounded by both.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import asdict, dataclass, field
from statistics import median

from benches import peers, plot, publish
from benches.publish import Bar

SESSIONS = 20
OWN = peers.SMTPX + peers.UVLOOP


@dataclass(frozen=True)
class Load:
    """What ``smtp-source`` sends."""

    title: str
    options: tuple[str, ...]
    messages: int
    bars: tuple[Bar, ...]


KEPT_BARS = (
    Bar(OWN, peers.SINK, most=1.0),
    Bar(OWN, peers.AIOSMTPD, most=0.1),
    Bar(OWN, peers.AIOSMTPD + peers.UVLOOP),
)
LOADS = (
    Load("4 KiB, kept connections", ("-d", "-l", "4096"), 3000, KEPT_BARS),
    Load("connection a message", ("-l", "4096"), 2000, (Bar(OWN, peers.SINK, most=1.2),)),
    Load("1 MiB", ("-d", "-l", "1048576"), 100, (Bar(OWN, peers.SINK, most=0.15),)),
    Load("50 recipients", ("-d", "-l", "4096", "-r", "50"), 300, (Bar(OWN, peers.SINK, most=1.3),)),
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
        for server in publish.turns(servers, rounds):
            cpu_us, rate = send(server, load, messages)
            samples[server.name].cpu_us.append(cpu_us)
            samples[server.name].rate.append(rate)
        for server in servers:
            samples[server.name].peak_kib = server.peak_kib()
    return samples


def medians(results: Results) -> publish.Figures:
    """Return the CPU microseconds a message."""
    return {
        load: {name: median(sample.cpu_us) for name, sample in samples.items()}
        for load, samples in results.items()
    }


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


def main() -> None:
    arguments = publish.options("load", "Server CPU a message, by load.", peers.NAMES).parse_args()
    names = arguments.only or list(peers.NAMES)
    rounds, share = (1, 0.1) if arguments.quick else (arguments.rounds, 1.0)
    results: Results = {}
    for load in LOADS:
        print(f"{load.title} ...", flush=True)
        results[load.title] = measure(load, names, rounds, share)
    figures = medians(results)
    summary = publish.summary("server", figures)
    verdicts = publish.verdicts("server", {load.title: load.bars for load in LOADS}, figures)
    print(summary, verdicts, details(results), sep="\n\n")
    if arguments.quick or arguments.only:
        return
    samples = {load: {name: asdict(sample) for name, sample in of.items()} for load, of in results.items()}
    publish.raw("load", loads=samples)
    plot.draw("Server CPU a message, microseconds", figures, publish.DOCS / "load.svg")
    conditions = f"CPU microseconds a message: medians of {rounds} rounds; {publish.conditions()}."
    publish.section("load", f"{summary}\n\n{conditions}")
    publish.section("load-details", f"{verdicts}\n\n{details(results)}")


if __name__ == "__main__":
    main()
