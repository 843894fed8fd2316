"""A SQLiteStorage's file: opened and checked, its transactions, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import apsw

from smtpx._core import json_rows
from smtpx.errors import StorageError, StorageFull
from smtpx.storage.spool import NO_ROOM, check_directory
from smtpx.storage.sqlite_schema import migrate, probe
from smtpx.storage.sqlite_views import add_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["FAILURES", "Database", "Reader", "Row", "error_code", "failure"]

Row: TypeAlias = tuple[Any, ...]

_log = logging.getLogger("smtpx.storage")
_PAGE = 4096
_PATIENCE = 10.0  # seconds that another process may hold the file
_CHECKED_WHOLE = 32 * 1024 * 1024  # octets: some tenths of a second
_LONG = 48 * 1024 * 1024 // _PAGE  # pages in the log; twice as many are less than the usual reserve
_LOG_KEPT = 64 * 1024 * 1024  # octets: writing over a log that is there spares the file system's journal
_CACHE = 16 * 1024  # KiB
FAILURES: Final = apsw.Error, UnicodeDecodeError
"""What SQLite raises, and what text raises that is none: the file is damaged."""
_KEPT = 1024 * 1024  # octets of values, of which each statement that is kept for its next use has a copy


class Rows(Protocol):
    """What a statement gives: an apsw.Cursor, of whose values SQL knows more than its types say."""

    def __iter__(self) -> Iterator[Row]: ...
    def fetchall(self) -> list[Row]: ...
    def fetchone(self) -> Any: ...


class _Execute(Protocol):
    def __call__(
        self, statement: str, values: Row | Mapping[str, Any] = (), /, *, can_cache: bool = True
    ) -> Rows: ...


class Database:
    """The connection that writes; for one thread."""

    execute: _Execute

    def __init__(self, path: Path) -> None:
        """Open the file, make or migrate its tables, check it, and bring home what its log holds.

        A file of up to 32 MiB is checked whole (PRAGMA quick_check), a larger one at the ends of its tables
        and indexes; the rest is what `audit` is for: the start of a server must not wait for gigabytes.

        Raises:
            StorageFull: no room, or no free descriptor.
            StorageError: it cannot be used; the message says the mend.

        """
        self.path = path
        self.stirred = False
        """Whether something may have come due, for all who wait."""
        self.handed = False
        """Whether something was saved that is claimed already: news for other processes alone."""
        self._unsettled: list[int] = []
        self._durable = True
        self._single = False
        self._pages = 0
        self._changes = 0
        with contextlib.ExitStack() as undo:
            try:
                check_directory(path.parent, "directory of the queue")
                _create(path)
                self._connection = undo.enter_context(contextlib.closing(_connect(path)))
                self.execute = self._connection.execute
                # Journals of savepoints stay in memory: there may be no descriptor for a temporary file.
                self.execute("PRAGMA temp_store = MEMORY")
                self.execute(f"PRAGMA cache_size = -{_CACHE}")
                migrate(self._connection, path)
                add_views(self._connection, self._unsettled.append)
                self._check()
                self.checkpoint()
            except FAILURES as error:
                raise failure(error, path, "the queue cannot be opened") from error
            except OSError as error:
                if isinstance(error, StorageError):
                    raise
                kind = StorageFull if error.errno in NO_ROOM else StorageError
                raise kind(
                    error.errno,
                    f"the queue {path} cannot be made: let this process write to its directory, or name"
                    f" another one: {error.strerror}",
                ) from error
            self._resources = undo.pop_all()

    def close(self) -> None:
        """Close it; the last of all processes to do so brings home what the log holds."""
        with contextlib.suppress(apsw.Error):  # the log keeps what was committed
            self._resources.close()

    def execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Execute a statement whose "VALUES ?" stands for all of the rows: of int, str, bool and None.

        In one step, where executemany() takes one a row: in each the thread lets go of the interpreter's
        lock, and a busy event loop makes it wait for its turn again.
        """
        if rows:
            values = json_rows(rows)
            self.execute(_from_json(statement, len(rows[0])), (values,), can_cache=len(values) <= _KEPT)

    def write(self, rows: Sequence[Row], octets: int = 0) -> list[int]:
        """Insert rows into ``written``, by one statement: all of them or none.

        ``octets`` is about how many their values are.

        Returns:
            the numbers, in their settlement, of those recipients that were not written.

        """
        self._unsettled.clear()
        columns, count = len(rows[0]), 1 << (len(rows) - 1).bit_length()
        statement = _writing(columns, count)
        filling = itertools.repeat(None, columns * (count - len(rows)))
        values = (*itertools.chain.from_iterable(rows), *filling)
        self.execute(statement, values, can_cache=octets <= _KEPT)
        return self._unsettled.copy()

    @property
    def in_transaction(self) -> bool:
        """Whether `begin` was called, and nothing has ended it since."""
        return self._connection.in_transaction

    def begin(self, *, durable: bool, single: bool = False) -> None:
        """Begin a transaction, alone over all processes; what is not durable may be lost with the power.

        Of a single statement SQLite makes one by itself, committed when it is done.
        """
        if durable is not self._durable:
            # In a log, NORMAL syncs nothing at a commit; the next FULL commit syncs what was before it too.
            self.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self._single = single
        if not single:
            self.execute("BEGIN IMMEDIATE")

    def commit(self, octets: int = 0) -> None:
        """Commit; durable when it returns, where that was asked for. ``octets`` of content were written."""
        if not self._single:
            self.execute("COMMIT")  # which fails where something has ended the transaction
        changes = self._connection.total_changes()
        # How long the log is SQLite does not tell; less than if every row that changed had its own page.
        self._pages += octets // _PAGE + (changes - self._changes) + 8
        self._changes = changes

    def sync(self) -> None:
        """Make durable what was committed without that."""
        try:
            log = os.open(f"{self.path}-wal", os.O_RDWR)  # which nobody locks: to close it frees no lock
            try:
                os.fsync(log)
            finally:
                os.close(log)
        except OSError as error:
            failed = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
            failed.args = (error.strerror,)
            raise failed from error

    def rollback(self) -> None:
        """Undo what was done since `begin`; nothing where that is over."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """Undo what was done within where it raises, and go on with the transaction."""
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if self.in_transaction:  # some errors end it all
                self.execute("ROLLBACK TO part")
                self.execute("RELEASE part")
            raise
        self.execute("RELEASE part")

    @property
    def log_octets(self) -> int:
        """The length of the log, or more than that."""
        return self._pages * _PAGE

    @property
    def log_is_long(self) -> bool:
        """Whether it is time for a `checkpoint`, where nobody waits."""
        return self._pages > _LONG

    @property
    def log_is_too_long(self) -> bool:
        """Whether it is time for a `checkpoint`, whoever waits."""
        return self._pages > 2 * _LONG

    def checkpoint(self) -> None:
        """Bring home what the log holds, as far as no reader still needs the old state."""
        self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._pages = 0

    def free(self) -> int:
        """Return the octets within the file that are free for new messages."""
        return int(self._connection.pragma("freelist_count")) * _PAGE

    def growth(self) -> int:
        """Return by how many octets the file grows when what the log holds is brought home.

        Raises:
            StorageError: the file is gone, or its size cannot be asked.

        """
        pages = int(self._connection.pragma("page_count"))
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise StorageError(error.errno, f"the queue {self.path}: {error.strerror}") from error
        return max(pages * _PAGE - size, 0)

    def _check(self) -> None:
        if self._connection.pragma("page_count") * _PAGE <= _CHECKED_WHOLE:
            verdict = self._connection.pragma("quick_check", 1)
            if verdict != "ok":
                raise _damage(self.path, verdict)
        probe(self._connection)


class Reader:
    """A connection that reads, opened at its first use; for one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: apsw.Connection | None = None

    def execute(self, statement: str, values: Row | Mapping[str, Any] = ()) -> Rows:
        """Execute a SELECT."""
        if self._connection is None:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            self._connection = connection
        return self._connection.execute(statement, values)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the file, whatever others write meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close it; the next use opens it again."""
        if self._connection is not None:
            with contextlib.suppress(apsw.Error):
                self._connection.close()
            self._connection = None


def error_code(error: Exception) -> int:
    """Return SQLite's code of an error of SQLite, SQLITE_ERROR for any other."""
    code: int = getattr(error, "result", apsw.SQLITE_ERROR)
    return code


@functools.cache
def _from_json(statement: str, columns: int) -> str:
    values = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(columns))
    return statement.replace("VALUES ?", f"SELECT {values} FROM json_each(?) WHERE TRUE")  # noqa: S608 - ours


@functools.cache
def _writing(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO written VALUES {', '.join([row] * rows)}"  # noqa: S608 - it is all ours


def failure(error: apsw.Error | UnicodeDecodeError, path: Path, what: str) -> StorageError:
    """Return the StorageError that says what to answer, and to the operator what to do."""
    code = error_code(error)
    if code in (apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB) or isinstance(error, UnicodeDecodeError):
        return _damage(path, str(error))
    if code == apsw.SQLITE_FULL:
        return StorageFull(errno.ENOSPC, f"{what}: no space is left for {path}")
    if code in (apsw.SQLITE_IOERR, apsw.SQLITE_CANTOPEN) and (number := _want(path)):
        return StorageFull(number, f"{what}: {path}: {os.strerror(number)}")
    if code in (apsw.SQLITE_BUSY, apsw.SQLITE_LOCKED):
        return StorageError(
            errno.EAGAIN, f"{what}: another process has held {path} for {_PATIENCE:.0f} s; see what it does"
        )
    return StorageError(errno.EIO, f"{what}: {path}: {error}")


def _damage(path: Path, verdict: str) -> StorageError:
    return StorageError(
        errno.EIO,
        f"{path} is damaged ({' '.join(verdict.split())}): stop what uses it, keep a copy of it and of its"
        f" -wal, and recover what there is into a new file: sqlite3 {path} .recover | sqlite3 NEW",
    )


def _want(path: Path) -> int:
    """Return the errno where it is descriptors or a quota that we lack; SQLite does not tell these apart."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_PAGE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in NO_ROOM else 0
    return 0


def _create(path: Path) -> None:
    # Only where there is none: to close a file that this process has open elsewhere drops SQLite's locks.
    if path.exists():
        return
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # a power cut must not take the file's name (HOSTILE 90)
        finally:
            os.close(directory)


def _connect(path: Path) -> apsw.Connection:
    # No mutex: each connection is one thread's.
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
    connection = apsw.Connection(f"{path.absolute().as_uri()}?mode=rw", flags)
    try:
        connection.set_busy_timeout(round(_PATIENCE * 1000))
        for pragma in (
            f"page_size = {_PAGE}",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",  # macOS; else its fsync leaves data in the drive's cache
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {_LOG_KEPT}",
            "secure_delete = OFF",  # Debian builds it in: every page that is freed would be written once more
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection
