"""The account file: TOML, a table an account, made by ``smtpx account`` and followed by a running server.

::

    ["joe@example.org"]
    hash = "$2b$12$..."
    name = "Joe Smith"
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpx._core import parse_mailbox
from smtpx.environment import Account, Environment
from smtpx.errors import AddressError, ConfigurationError
from smtpx.folding import fold_address
from smtpx.toml import Document

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["AccountFile", "LiveEnvironment"]

_logger = logging.getLogger("smtpx.accounts")

_HEAD = """\
# The accounts of smtpx. Change them with: smtpx account add|passwd|remove
# (each writes this file anew, and keeps no other comment)
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    hash: str = field(metadata={"example": "the password's bcrypt hash; smtpx account passwd sets it"})
    name: str = ""


class AccountFile:
    """The account file at ``path``; each change is whole and on disk when its method returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Account]:
        """Return the accounts in the order of the file.

        Raises:
            ConfigurationError: it cannot be read, or is not as it should be (with the lines).

        """
        document, accounts = self._parse()
        document.finish()
        return accounts

    def fill(self, environment: Environment) -> None:
        """Add the accounts to their domains.

        Raises:
            ConfigurationError: as for `read`; or an account is of no domain of the environment.

        """
        document, accounts = self._parse()
        for account in accounts:
            domain = environment.domain_of(account.short)
            if domain is not None:
                domain.add(account)
                continue
            mend = f'add [domains."{account.domain}"] to the configuration, or remove the account'
            document.fault((account.short,), f"'{account.short}' is of no domain here: {mend}")
        document.finish()

    def add(self, account: Account) -> None:
        """Add an account; the file is made where there is none.

        Raises:
            ConfigurationError: there is one of that address.

        """
        with self._changing() as accounts:
            if _key(account.short) in accounts:
                raise ConfigurationError(
                    f"{account.short} has an account already: smtpx account passwd changes its password"
                )
            accounts[_key(account.short)] = account

    def replace(self, account: Account) -> None:
        """Put an account in the place of the one of its address, whose name it keeps when it has none.

        Raises:
            ConfigurationError: there is none of that address.

        """
        with self._changing() as accounts:
            old = self._existing(accounts, account.short)
            name = account.name or old.name
            accounts[_key(old.short)] = Account(name, old.local, old.domain, account.hash_pass)

    def remove(self, address: str) -> None:
        """Remove an account.

        Raises:
            ConfigurationError: there is none of that address.

        """
        with self._changing() as accounts:
            del accounts[_key(self._existing(accounts, address).short)]

    def _existing(self, accounts: dict[str, Account], address: str) -> Account:
        account = accounts.get(_key(address))
        if account is None:
            raise ConfigurationError(f"{self.path} has no account {address}: smtpx account list shows them")
        return account

    def _parse(self) -> tuple[Document, list[Account]]:
        document = Document(self.path)
        accounts: dict[str, Account] = {}
        for address in document.table:
            entry = document.convert(_Entry, document.table[address], (address,))
            try:
                local, at, domain = parse_mailbox(address).rpartition("@")
            except AddressError:
                at = ""
            if not at:
                document.fault((address,), f"'{address}' is no address: write [\"joe@example.org\"]")
            elif _key(address) in accounts:
                document.fault((address,), f"'{address}' is here twice, in another spelling: remove one")
            elif entry is not None:
                accounts[_key(address)] = Account(entry.name, local, domain, entry.hash)
                self._check_hash(document, accounts[_key(address)], address)
        return document, list(accounts.values())

    @staticmethod
    def _check_hash(document: Document, account: Account, address: str) -> None:
        # Only its form: bcrypt's work at every reading would be a second for every four accounts.
        if account.hash_pass and not (len(account.hash_pass) == 60 and account.hash_pass.startswith("$2")):
            document.fault(
                (address, "hash"), f"'hash' is no bcrypt hash: set it with smtpx account passwd {address}"
            )

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Account]]:
        """Lock the folder, give the accounts to change, write them."""
        try:
            with _locked(self.path.parent) as folder:
                try:
                    accounts = {_key(account.short): account for account in self.read()}
                except ConfigurationError:
                    if self.path.exists():
                        raise
                    accounts = {}
                yield accounts
                self._write(list(accounts.values()), folder)
        except OSError as error:
            told = error.strerror or str(error)
            mends = {
                errno.ENOENT: f"make the folder {self.path.parent}, or name another file",
                errno.EACCES: f"run as a user who may write to {self.path.parent} (sudo), or let this one",
                errno.EPERM: f"run as the user whose {self.path} is, or as root",
            }
            mend = f"; {mends[error.errno]}" if error.errno in mends else ""
            raise ConfigurationError(f"{self.path} cannot be changed: {told}{mend}") from error

    def _write(self, accounts: list[Account], folder: int | None) -> None:
        """Write a new file, mode 0600, and put it in the old one's place: a reader sees one or the other."""
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.unlink(missing_ok=True)  # of somebody who was killed; who lives waits for the lock
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - its mode
                _keep_owner(descriptor, self.path)
                file.write(_HEAD)
                file.writelines(map(_table, accounts))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if folder is not None:
            os.fsync(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """Hold the folder's lock; two administrators at once lose nothing."""
    if sys.platform == "win32":
        yield None
    else:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _keep_owner(descriptor: int, path: Path) -> None:
    """Give the new file to the old one's owner: root adds accounts to a file that the server must read."""
    if sys.platform != "win32" and path.exists():
        old = path.stat()
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, old.st_uid, old.st_gid)


def _table(account: Account) -> str:
    lines = [f"\n[{_quoted(account.short)}]", f"hash = {_quoted(account.hash_pass)}"]
    if account.name:
        lines.append(f"name = {_quoted(account.name)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's too; DEL, the one character that JSON leaves and TOML refuses, apart.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(address: str) -> str:
    """Return what makes two spellings of an address one account."""
    with contextlib.suppress(AddressError):
        address = parse_mailbox(address)
    return fold_address(address)


class LiveEnvironment(Environment):
    """An environment that follows its account file, looked at when a session begins and at a login.

    A look is one ``stat``, so a change is there for the very next session, and an idle server does not
    poll. A file with a fault is logged and leaves the accounts as they were.

    Args:
        path: the account file.
        build: makes an environment of that file.

    Raises:
        ConfigurationError: of ``build``.

    """

    def __init__(self, path: Path, build: Callable[[], Environment]) -> None:
        self._path = path
        self._build = build
        self._seen = _stamp(path)  # before the reading: a change meanwhile is seen the next time
        self._adopt(build())

    def refresh(self) -> None:
        """Take over a changed account file."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._adopt(self._build())
        except ConfigurationError as error:
            for line in str(error).splitlines():
                _logger.error("the accounts stay as they were: %s", line)
        else:
            _logger.info("accounts read", extra={"event": "accounts", "file": str(self._path)})

    def authenticate(self, username: str, password: str) -> Account:
        """As of `Environment`, by the account file as it is now."""
        self.refresh()
        return super().authenticate(username, password)

    def _adopt(self, environment: Environment) -> None:
        # New objects, put in place: logins read the old ones on other threads meanwhile.
        self.primary_domain = environment.primary_domain
        self.virtual_domains = environment.virtual_domains


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
