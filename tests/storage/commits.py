"""The commits of a SQLiteStorage, watched and held up."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from smtpx.storage.sqlite_file import Database

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from smtpx.storage.sqlite_file import Row


class Commits:
    """Counts the commits that are durable and those that are not; holds them up, and fails, as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.durable: list[bool] = []
        self.failures: list[Exception | None] = []  # of the next commits
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()
        begin, write, commit = Database.begin, Database.write, Database.commit

        def seen_begin(db: Database, *, durable: bool, single: bool = False) -> None:
            self.durable.append(durable)
            begin(db, durable=durable, single=single)

        def seen_write(db: Database, rows: Sequence[Row], octets: int = 0) -> list[int]:
            if not db.in_transaction:  # it is one by itself
                self._reach()
            return write(db, rows, octets)

        def seen_commit(db: Database, octets: int = 0) -> None:
            if db.in_transaction:
                self._reach()
            commit(db, octets)

        monkeypatch.setattr(Database, "begin", seen_begin)
        monkeypatch.setattr(Database, "write", seen_write)
        monkeypatch.setattr(Database, "commit", seen_commit)

    def _reach(self) -> None:
        self.reached.set()
        assert self.open.wait(30)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure

    async def hold(self) -> None:
        """Wait until one is reached that `open` lets go."""
        assert await asyncio.to_thread(self.reached.wait, 30)
