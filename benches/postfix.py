"""Debian's postfix in a folder of its own: its configuration, queue and processes, apart from any other."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benches.peers import find_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PATIENCE", "daemon_directory", "instance", "make_instance", "poll", "version"]

PATIENCE: Final = 60.0  # seconds
_PAUSE: Final = 0.01

_MAIN: Final = """\
compatibility_level = 3.7
queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {daemons}
maillog_file = {root}/log
maillog_file_prefixes = {root}
inet_protocols = ipv4
disable_dns_lookups = yes
smtpd_peername_lookup = no
"""
_SERVICES: Final = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
# A group of its own, which master(8) ends with itself.
_GUARD: Final = 'setsid "$@" 2>/dev/null & read _; kill $!; wait'
_QUEUES: Final = (
    "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace"
)


def make_instance(root: Path, main: str, listeners: str) -> None:
    """Write a configuration and make the folders, with the owners that master(8) asks for.

    Args:
        root: the folder; the paths of the sockets in it must be short.
        main: lines of main.cf beside those that every instance has.
        listeners: the lines of master.cf that say where smtpd(8) listens.

    """
    root.chmod(0o755)  # its processes are not all root's
    common = _MAIN.format(root=root, daemons=daemon_directory())
    (root / "main.cf").write_text(common + main, encoding="utf-8")
    (root / "master.cf").write_text(listeners + _SERVICES, encoding="utf-8")
    owner, nobody = pwd.getpwnam("postfix").pw_uid, pwd.getpwnam("nobody")
    for folder in (root / "data", *(root / "queue" / name for name in _QUEUES.split())):
        folder.mkdir(parents=True)
        os.chown(folder, owner, 0)
    (root / "mail").mkdir()
    os.chown(root / "mail", nobody.pw_uid, nobody.pw_gid)


@contextlib.contextmanager
def instance(root: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Run an instance for as long as the block; ``wait`` returns once it listens."""
    master = [f"{daemon_directory()}/master", "-c", str(root), "-d"]
    # The pipe closes with this process, however that ends.
    with subprocess.Popen(["sh", "-c", _GUARD, "sh", *master], stdin=subprocess.PIPE) as guard:
        assert guard.stdin is not None
        try:
            wait()
            group = int((root / "queue" / "pid" / "master.pid").read_text())
            yield
        finally:
            guard.stdin.close()
            guard.wait(PATIENCE)
        poll(lambda: not members(group), "processes of postfix are left")


@functools.cache
def daemon_directory() -> str:
    """Where the programs of postfix are; "" without postfix."""
    return _default("daemon_directory")


def version() -> str:
    """Return the version of postfix; "" without postfix."""
    return _default("mail_version")


def _default(parameter: str) -> str:
    postconf = find_tool("postconf")
    if postconf is None:
        return ""
    command = [postconf, "-d", "-h", parameter]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def members(group: int) -> list[int]:
    """Return the living processes of a group; one that has ended and waits for its parent is none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # pid (name) state parent group ...; the name may hold anything
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


def poll(condition: Callable[[], bool], failure: str, log: Callable[[], str] = str) -> None:
    """Wait for what tells nobody when it happens."""
    for _ in range(int(PATIENCE / _PAUSE)):
        if condition():
            return
        time.sleep(_PAUSE)
    raise AssertionError(f"{failure}\n{log()}")
