"""``smtpx serve``: a queue in a SQLite file, and the Maildirs that it delivers into."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import smtpx
from smtpx import State
from smtpx.accounts import AccountFile
from smtpx.storage import SQLiteStorage

from tests.served import serve
from tests.torture.messages import DOMAIN, LOCALS, Copy, recognise
from tests.torture.record import Harvest
from tests.torture.wal import was_checkpointing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["ServeProcess", "ServedSubject"]

_CONFIG = """\
hostname = "{domain}"
spool = "spool"
deliver = "maildir:{folder}/mail/{{domain}}/{{local}}"
accounts = "accounts.toml"
[[listener]]
service = "smtp"
host = "127.0.0.1"
port = 0
[limits]
disk_reserve = {reserve}
connections_per_address = 1000
[queue]
gaps = [1]
[log]
format = "json"
"""

_SERVE = "tests.torture.frequent"
_ALL = 1 << 40
_MEMORY = Path("/dev/shm")
_FOLDER = _MEMORY if _MEMORY.is_dir() else None


class ServeProcess:
    """A process of ``smtpx serve CONFIG``, to be started and killed again and again."""

    def __init__(self, config: Path, *, prefix: Sequence[str] = (), module: str = _SERVE) -> None:
        self.pid = 0
        self._config = config
        self._prefix = prefix
        self._module = module
        self._running = ExitStack()

    def start(self) -> tuple[str, int]:
        """Start it and return the address where it takes mail."""
        served = self._running.enter_context(
            serve(self._config, prefix=self._prefix, module=self._module, cwd=Path(__file__).parents[2])
        )
        port = served.event("listening", service="smtp")["port"]
        self.pid = served.process.pid
        if self._prefix:
            self.pid = int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])
        return "127.0.0.1", port

    def kill(self) -> None:
        """SIGKILL; back when it is dead."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.pid = 0
        self._running.close()


class _Letter(NamedTuple):
    """Whose copy of which message a file in a Maildir is, as its name says."""

    mail_id: str
    place: int


class ServedSubject:
    """A `ServeProcess`, and a look into what it left behind.

    Attributes:
        database: the file of its queue.
        mail: the folder of the Maildirs.

    """

    def __init__(
        self,
        folder: Path,
        *,
        reserve: int = 1,
        prefix: Sequence[str] = (),
        uvloop: bool = True,
        module: str | None = None,
    ) -> None:
        self.mail = folder / "mail"
        for made in (self.mail, folder / "spool"):
            made.mkdir(mode=0o700)
        self.database = folder / "spool" / "queue.db"
        self._config = folder / "smtpx.toml"
        self._config.write_text(
            _CONFIG.format(domain=DOMAIN, folder=folder, reserve=reserve), encoding="utf-8"
        )
        accounts = AccountFile(folder / "accounts.toml")
        for local in LOCALS:
            accounts.add(smtpx.Account.create("", local, DOMAIN, "never used", rounds=4))
        self._process = ServeProcess(
            self._config, prefix=prefix, module=module or (_SERVE if uvloop else "tests.torture.plain_loop")
        )
        self._begun: set[Path] = set()  # files in tmp/ that an earlier harvest has seen
        self._left: set[Path] = set()  # files that an earlier harvest has counted
        self._delivered = 0  # files that ever came

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> tuple[str, int]:
        return self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def another(self) -> ServeProcess:
        """Return another server on the same queue and Maildirs."""
        return ServeProcess(self._config)

    async def harvest(self) -> Harvest:
        """See `Subject.harvest`; the queue is read in a copy, so that the server itself has to mend it."""
        harvest = Harvest()
        if was_checkpointing(self.database):
            harvest.hit.add("checkpoint")
        begun = set(self.mail.glob("*/*/tmp/*"))
        if begun - self._begun:
            harvest.hit.add("writing to a Maildir")
        self._begun = begun
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            copy = Path(folder, self.database.name)
            for suffix in ("", "-wal"):
                if (file := Path(f"{self.database}{suffix}")).exists():
                    shutil.copy(file, f"{copy}{suffix}")
            async with SQLiteStorage(copy, reserve=0) as storage:
                queued = await self._queued(storage, harvest)
                audit = await storage.audit()
        harvest.damaged += audit.faults
        harvest.ledger = sum(audit.recipients.values())
        there = self._mailboxes(harvest)
        if there.keys() & queued:
            harvest.hit.add("delivered, and not settled")
        # The ledger against the Maildirs: each that it calls delivered is there, and each that is there it
        # knows, as delivered or as under way.
        told = audit.recipients[State.DELIVERED]
        if self._delivered != told + len(there.keys() & queued):
            harvest.damaged.append(
                f"the ledger says {told} delivered; {self._delivered} came into the Maildirs, of which"
                f" {len(there.keys() & queued)} are still queued"
            )
        self._take_away([path for letter, path in there.items() if letter not in queued])
        return harvest

    async def _queued(self, storage: SQLiteStorage, harvest: Harvest) -> set[_Letter]:
        queued = await storage.deliveries(states=[State.QUEUED, State.HELD], limit=_ALL)
        marks: dict[str, str] = {}
        for each in queued:
            if each.mail_id not in marks:
                try:
                    marks[each.mail_id] = recognise((await storage.mail_load(each.mail_id)).data)
                except (ValueError, smtpx.StorageError) as error:
                    harvest.damaged.append(f"{each.mail_id} in the queue: {error}")
                    marks[each.mail_id] = ""
            if each.state is State.HELD:
                harvest.set_aside.append(each.mail_id)
            if each.token:
                harvest.hit.add("claimed")
            harvest.queued[Copy(marks[each.mail_id], each.recipient)] += 1
        return {_Letter(each.mail_id, each.index) for each in queued}

    def _mailboxes(self, harvest: Harvest) -> dict[_Letter, Path]:
        """Count what is new in the Maildirs, and return all that is there."""
        there: dict[_Letter, Path] = {}
        for path in self.mail.glob("*/*/new/*"):
            _, mail_id, index = path.name.split(".")
            there[_Letter(mail_id, int(index))] = path
            if path in self._left:
                continue
            self._left.add(path)
            self._delivered += 1
            try:
                mark = recognise(path.read_bytes())
            except ValueError as error:
                harvest.damaged.append(f"{path}: {error}")
            else:
                harvest.delivered[Copy(mark, f"{path.parents[1].name}@{DOMAIN}")] += 1
        return there

    def _take_away(self, paths: list[Path]) -> None:
        """Remove files for good: no power cut may bring them back."""
        for path in paths:
            path.unlink()
            self._left.remove(path)
        for directory in {path.parent for path in paths}:
            fd = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
