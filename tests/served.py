"""``smtpx serve`` as its users run it: a process of its own, what it writes, and clients of it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from smtpx.accounts import AccountFile
from smtpx.certificate import make_certificate
from smtpx.environment import Account

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PATIENCE = 60.0  # seconds before a test is given up; none waits that long when all is well


class Stream:
    """The lines of a pipe, as they come."""

    def __init__(self, pipe: Any) -> None:
        self.lines: list[str] = []
        self._ended = False
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                self._coming.put(line.rstrip("\n"))
        self._coming.put(None)

    def next(self) -> str | None:
        """The next line; None at the end."""
        if self._ended:
            return None
        line = self._coming.get(timeout=PATIENCE)
        if line is None:
            self._ended = True
        else:
            self.lines.append(line)
        return line

    def match(self, pattern: str) -> re.Match[str]:
        """Read up to the line that begins so."""
        while (line := self.next()) is not None:
            if found := re.match(pattern, line):
                return found
        raise AssertionError(f"ended without {pattern!r}:\n" + "\n".join(self.lines))

    def rest(self) -> list[str]:
        """Read to the end; return all lines there were."""
        while self.next() is not None:
            pass
        return self.lines


class Served:
    """A running ``smtpx serve``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out = Stream(process.stdout)
        self.log = Stream(process.stderr)

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Read the log (JSON) up to an event with such fields."""
        while (line := self.log.next()) is not None:
            if line.startswith("{"):
                event: dict[str, Any] = json.loads(line)
                if event.get("event") == name and fields.items() <= event.items():
                    return event
        raise AssertionError(f"ended without {name} {fields}:\n" + "\n".join(self.log.lines))

    def error(self) -> str:
        """Read the log up to an error; return its message."""
        while (line := self.log.next()) is not None:
            if line.startswith("{") and (event := json.loads(line))["level"] == "error":
                return str(event["message"])
        raise AssertionError("ended without an error:\n" + "\n".join(self.log.lines))

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it as a service manager does; return its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def smtpx(*arguments: object, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "smtpx", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=_environment({}),
        cwd=cwd,
        timeout=PATIENCE,
        check=False,
    )


@contextlib.contextmanager
def serve(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    module: str = "smtpx",
) -> Iterator[Served]:
    """Run ``smtpx serve`` for as long as the block."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", module, "serve", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=_environment(env or {}),
        cwd=cwd,
        pass_fds=pass_fds,
    )
    served = Served(process)
    try:
        yield served
    finally:
        process.kill()
        process.wait(PATIENCE)
        served.out.rest()
        served.log.rest()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    # Wide and without colours, wherever the tests run; errors of the interpreter's own development mode too.
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", **more}


def submit(
    port: int, certificate: Path, user: str, password: str, to: str, data: str, options: Sequence[str] = ()
) -> None:
    """Send as a user does, in TLS that is verified; a refusal is an exception of smtplib's."""
    context = ssl.create_default_context(cafile=certificate)
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=PATIENCE) as client:
        client.login(user, password)
        client.sendmail(user, [to], data, rcpt_options=options)


CONFIG = """\
hostname = "mail.{domain}"
spool = "spool"
deliver = "maildir:{folder}/mail/{{domain}}/{{local}}"
accounts = "accounts.toml"
[tls]
certificate = "certificate.pem"
key = "key.pem"
[[listener]]
service = "smtp"
host = "127.0.0.1"
port = 0
[[listener]]
service = "submissions"
host = "127.0.0.1"
port = 0
[domains."{domain}"]
[log]
format = "json"
"""


def letters(root: Path) -> list[bytes]:
    """What is in the Maildirs below a folder, the oldest first."""
    return [path.read_bytes() for path in sorted(root.glob("**/new/*"), key=lambda path: path.name)]


JOE, SECRET = "joe@example.org", "correct horse"


class Site:
    """The files of a server, and the server once it runs."""

    def __init__(self, folder: Path, domain: str = "example.org") -> None:
        self.folder = folder
        self.domain = domain
        self.config = folder / "smtpx.toml"
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.accounts = AccountFile(folder / "accounts.toml")
        self.config.write_text(CONFIG.format(folder=folder, domain=domain), encoding="utf-8")
        make_certificate(self.certificate, self.key)
        self.add("joe", SECRET)
        for made in ("spool", "mail"):
            (folder / made).mkdir()
        self.served: Served
        self.smtp = self.submissions = 0

    def add(self, local: str, password: str) -> None:
        self.accounts.add(Account.create("", local, self.domain, password, rounds=4))

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text(encoding="utf-8")
        assert old in text
        self.config.write_text(text.replace(old, new), encoding="utf-8")

    @contextlib.contextmanager
    def running(self, **how: Any) -> Iterator[None]:
        """Run it, see `serve`."""
        with serve(self.config, **how) as self.served:
            self.smtp, self.submissions = self.ports()
            yield

    def ports(self) -> tuple[int, int]:
        """Wait until it listens."""
        smtp = self.served.event("listening", service="smtp")
        return smtp["port"], self.served.event("listening", service="submissions")["port"]

    def reload(self) -> None:
        self.served.send_signal(signal.SIGHUP)
        self.served.event("reload")

    def fail_to_reload(self) -> str:
        self.served.send_signal(signal.SIGHUP)
        return self.served.error()

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.smtp, timeout=PATIENCE)

    def log_in(self, local: str = "joe", password: str = SECRET) -> None:
        user = f"{local}@{self.domain}"
        submit(self.submissions, self.certificate, user, password, user, "Subject: x\n\n")

    def certificate_shown(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.submissions), timeout=PATIENCE)

    def letters(self) -> list[bytes]:
        """What is in the Maildirs, the oldest first."""
        return letters(self.folder / "mail")

    def kept(self) -> int:
        """How many recipients have their message, or will at the next start: the server has ended."""
        waiting = smtpx("queue", "list", "--json", "--config", self.config)
        assert waiting.returncode == 0, waiting.stderr
        return len(self.letters()) + len(waiting.stdout.splitlines())
