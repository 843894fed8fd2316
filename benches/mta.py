"""From 250 to the mailbox: smtpx as an MTA beside Debian's Postfix, on the same disk, alternated in one run.

``python -m benches.mta`` (a quarter of an hour, as root; ``--quick`` is a smoke) drives both by Postfix's
``smtp-source`` over kept connections, once they have served some thousand messages, and writes the raw
figures (``docs/mta.json``) and tables of medians (between the markers in ``docs/benchmarks.md`` and
``README.md``). Both sync to the disk what they answer 250 and what they put into a Maildir, and log each
message to a file. What a sync takes decides how they compare: ``--writes N`` runs both on an ext4 of
their own that does no more than N writes a second (by blkio of cgroup v1), for tables of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from smtpx import Account
from smtpx.accounts import AccountFile

from benches import peers, process, publish
from benches.disk import place
from benches.postfix import instance, make_instance, version
from benches.publish import Bar
from benches.queue import fsync_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN, POSTFIX = "smtpx", "Postfix"
WARMING = 3000  # messages: then the log of SQLite has its size, and Postfix its processes and folders
NAMES = (OWN, POSTFIX)
DOMAIN = "example.org"
_CONFIG = """\
hostname = "mail.example.com"
spool = "."
accounts = "accounts.toml"
deliver = "maildir:{root}/mail/{{domain}}/{{local}}"
domains."{domain}" = {{}}
listener = [{{ service = "smtp", host = "{host}", port = 0 }}]
limits = {{ connections_per_address = 1000 }}
"""
_MAIN = """\
myhostname = mail.example.com
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
default_transport = discard
smtpd_client_connection_count_limit = 0
"""
_MAILBOX = """\
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = inline:{{ joe@{domain}=joe/ }}
virtual_uid_maps = static:{owner.pw_uid}
virtual_gid_maps = static:{owner.pw_gid}
"""


@dataclass(frozen=True)
class Load:
    """Messages of 4 KiB, counted by the second: once they are accepted, or once they are in the Maildir."""

    title: str
    sessions: int
    messages: int
    least: float
    mailbox: bool = False

    @property
    def bars(self) -> tuple[Bar, ...]:
        return (Bar(OWN, POSTFIX, least=self.least),)


LOADS = (
    Load("accepted, 1 session", 1, 3000, 1.5),
    Load("accepted, 20 sessions", 20, 15_000, 5.0),
    Load("accepted, 100 sessions", 100, 20_000, 10.0),
    Load("in the Maildir, 20 sessions", 20, 10_000, 3.0, mailbox=True),
)


@dataclass(frozen=True)
class Sample:
    """Messages a second, and CPU microseconds a message, of all processes together, until they rest."""

    rate: float
    cpu: float


Samples = dict[str, list[Sample]]


@contextlib.contextmanager
def serving(name: str, root: Path, *, mailbox: bool) -> Iterator[tuple[int, int]]:
    """Run an MTA with its spool in a folder; give its port and its first process."""
    if name == OWN:
        (root / "mail").mkdir()
        (root / "smtpx.toml").write_text(_CONFIG.format(root=root, domain=DOMAIN, host=peers.HOST))
        AccountFile(root / "accounts.toml").add(Account.create("Joe", "joe", DOMAIN, "unused in this test"))
        mode = "deliver" if mailbox else "discard"
        with (
            (root / "log").open("wb") as log,
            peers.listening("benches.mta_server", str(root / "smtpx.toml"), mode, log=log) as (port, pid),
        ):
            yield port, pid
        return
    port = peers.free_port()
    main = _MAIN + (_MAILBOX if mailbox else "")
    values = main.format(root=root, domain=DOMAIN, owner=pwd.getpwnam("nobody"))
    make_instance(root, values, f"{peers.HOST}:{port} inet n - n - - smtpd\n")
    with instance(root, lambda: peers.wait_for(port)):
        yield port, int((root / "queue" / "pid" / "master.pid").read_text())


def arrived(root: Path) -> int:
    """Count the messages in every Maildir below."""
    return sum(sum(1 for _ in new.iterdir()) for new in root.glob("mail/**/new"))


def run(name: str, load: Load, messages: int, warming: int, root: Path) -> Sample:
    """Send messages to a server that has served some."""
    with serving(name, root, mailbox=load.mailbox) as (port, pid):
        send(port, load.sessions, warming)
        until_arrived(root, warming if load.mailbox else 0)
        before = process.settled_cpu_seconds(pid)
        start = time.perf_counter()
        send(port, load.sessions, messages)
        until_arrived(root, warming + messages if load.mailbox else 0)
        rate = messages / (time.perf_counter() - start)
        return Sample(rate, (process.settled_cpu_seconds(pid) - before) / messages * 1e6)


def until_arrived(root: Path, messages: int) -> None:
    """Wait until so many are in the Maildirs; to look costs CPU time that the server could have."""
    for _ in range(1200):
        if arrived(root) >= messages:
            return
        process.pause(0.1)
    raise TimeoutError(f"{arrived(root)} of {messages} messages arrived")


def send(port: int, sessions: int, messages: int) -> None:
    # Not run(timeout=...), which looks every 50 ms whether it has ended: a tenth of the shortest run.
    command = ["timeout", "600", peers.tool("smtp-source"), "-d", "-4", "-l", "4096"]
    much = ["-s", str(sessions), "-m", str(messages)]
    addresses = ["-f", "ann@example.net", "-t", f"joe@{DOMAIN}"]
    subprocess.run([*command, *much, *addresses, f"inet:{peers.HOST}:{port}"], check=True)


def measure(load: Load, names: list[str], rounds: int, share: float, folder: Path) -> Samples:
    """Run one load, one server after the other in every round."""
    samples: Samples = {name: [] for name in names}
    messages, warming = (max(load.sessions, int(number * share)) for number in (load.messages, WARMING))
    for name in publish.turns(names, rounds):
        os.sync()  # what the one before has left to be written is not this one's work
        samples[name].append(run(name, load, messages, warming, Path(tempfile.mkdtemp(dir=folder))))
    return samples


def main() -> None:
    options = publish.options("mta", "Messages a second, from 250 to the mailbox.", NAMES)
    options.add_argument("--writes", type=int, default=0, help="how many the disk does a second, at most")
    arguments = options.parse_args()
    names = arguments.only or list(NAMES)
    rounds, share = (1, 0.05) if arguments.quick else (arguments.rounds, 1.0)
    results: dict[str, Samples] = {}
    with place(arguments.writes) as folder:
        sync = f"one fsync of 4 KiB took {fsync_ms(folder):.2f} ms"
        for load in LOADS:
            print(f"{load.title} ...", flush=True)
            results[load.title] = measure(load, names, rounds, share, folder)
    figures = {
        load: {name: median(each.rate for each in of_name) for name, of_name in samples.items()}
        for load, samples in results.items()
    }
    costs = {
        load: {name: median(each.cpu for each in of_name) for name, of_name in samples.items()}
        for load, samples in results.items()
    }
    summary = publish.summary("messages a second", figures)
    verdicts = publish.verdicts("server", {load.title: load.bars for load in LOADS}, figures)
    cost = publish.summary("CPU microseconds a message", costs)
    print(summary, verdicts, cost, sep="\n\n")
    if arguments.quick or arguments.only:
        return
    page = "mta-slow" if arguments.writes else "mta"
    publish.raw(
        page,
        loads={
            load: {name: [asdict(each) for each in of_name] for name, of_name in samples.items()}
            for load, samples in results.items()
        },
    )
    limit = f"ext4 with a journal, {arguments.writes:,} writes a second; " if arguments.writes else ""
    conditions = f"Medians of {rounds} rounds; {limit}{sync}; {publish.conditions()}, Postfix {version()}."
    publish.section(page, f"{summary}\n\n{conditions}")
    publish.section(f"{page}-details", f"{verdicts}\n\n{cost}")


if __name__ == "__main__":
    main()
