"""The account file: changes are whole, private and seen by a running server; a fault has its line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from smtpx.accounts import AccountFile, LiveEnvironment
from smtpx.environment import Account, Domain, Environment
from smtpx.errors import ConfigurationError, InvalidCredential

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither file modes nor flock")


def account(local: str, *, password: str = "secret", name: str = "") -> Account:
    return Account.create(name, local, "example.org", password, rounds=4)


@pytest.fixture
def file(tmp_path: Path) -> AccountFile:
    return AccountFile(tmp_path / "accounts.toml")


def environment() -> Environment:
    return Environment(Domain("example.org"))


# Changes


def test_an_account_is_read_as_it_was_added(file: AccountFile) -> None:
    added = [account("joe", name='Joe "J" Smith'), account("ann", name="Änn"), account("sys", password="")]
    for one in added:
        file.add(one)
    assert file.read() == added


def test_an_address_has_one_account_in_whatever_case(file: AccountFile) -> None:
    file.add(account("joe"))
    with pytest.raises(ConfigurationError, match=r"Joe@example\.org has an account already: .* passwd"):
        file.add(account("Joe"))


def test_an_address_has_one_account_by_u_label_and_a_label(file: AccountFile) -> None:
    file.add(Account.create("", "joe", "bücher.example", "secret", rounds=4))
    with pytest.raises(ConfigurationError, match="has an account already"):
        file.add(Account.create("", "JOE", "xn--bcher-kva.example", "secret", rounds=4))


def test_a_new_password_takes_the_place_of_the_old_and_the_name_stays(file: AccountFile) -> None:
    file.add(account("joe", password="old", name="Joe"))
    file.replace(account("JOE", password="new"))
    (joe,) = file.read()
    joe.authenticate("new")
    with pytest.raises(InvalidCredential):
        joe.authenticate("old")
    assert (joe.name, joe.short) == ("Joe", "joe@example.org")


def test_an_account_is_removed_and_the_others_stay(file: AccountFile) -> None:
    for local in ("joe", "ann"):
        file.add(account(local))
    file.remove("Joe@example.org")
    assert [one.local for one in file.read()] == ["ann"]


def test_what_is_not_there_cannot_be_changed(file: AccountFile) -> None:
    file.add(account("ann"))
    with pytest.raises(ConfigurationError, match=r"has no account joe@example\.org: smtpx account list"):
        file.remove("joe@example.org")
    with pytest.raises(ConfigurationError, match=r"has no account joe@example\.org"):
        file.replace(account("joe"))


def test_a_file_with_a_fault_is_not_overwritten(file: AccountFile) -> None:
    file.path.write_text("[broken", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 1"):
        file.add(account("joe"))
    assert file.path.read_text(encoding="utf-8") == "[broken"


@posix
def test_the_file_is_for_its_owner_alone_even_where_the_old_one_was_not(file: AccountFile) -> None:
    file.path.touch(0o644)
    file.add(account("joe"))
    assert file.path.stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_keeps_its_owner_when_root_changes_it(file: AccountFile) -> None:
    file.add(account("joe"))
    os.chown(file.path, 12345, 12345)
    file.add(account("ann"))
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (12345, 12345)


def test_a_change_that_fails_leaves_the_file_and_no_litter(
    file: AccountFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.add(account("joe"))
    before = file.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be changed: No space left"):
        file.add(account("ann"))
    assert file.path.read_bytes() == before
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be changed: No such file"):
        AccountFile(tmp_path / "absent" / "accounts.toml").add(account("joe"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_change_that_is_not_permitted_is_told_with_the_mend(
    file: AccountFile, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file.add(account("joe"))

    def denied(*_: object) -> int:
        raise PermissionError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ConfigurationError, match=rf"cannot be changed: {os.strerror(code)}; run as"):
        file.add(account("ann"))


def test_a_file_that_may_not_be_read_is_told_with_the_mend(
    file: AccountFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(type(file.path), "read_bytes", denied)
    with pytest.raises(
        ConfigurationError, match=r"accounts\.toml: cannot be read: .*; let this user read it"
    ):
        file.read()


@posix
def test_administrators_at_the_same_time_lose_nothing(file: AccountFile) -> None:
    threads = [threading.Thread(target=file.add, args=(account(f"user{number}"),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read()) == 8


# Faults in the file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('["joe@example.org"]\nhas = ""\nhash = ""', "line 2: unknown key 'has', did you mean 'hash'?"),
        ('["joe@example.org"]\nname = "Joe"', "line 1: 'hash' is missing: write hash = "),
        ('["joe@example.org"]\nhash = "secret"', "line 2: 'hash' is no bcrypt hash: set it with"),
        ('\n["joe"]\nhash = ""', "line 2: 'joe' is no address"),
        ('["@"]\nhash = ""', "line 1: '@' is no address"),
        (
            '["joe@example.org"]\nhash = ""\n["Joe@example.org"]\nhash = ""',
            "line 3: 'Joe@example.org' is here twice",
        ),
        ('["joe@example.net"]\nhash = ""', "line 1: 'joe@example.net' is of no domain here: add [domains."),
        ('"joe@example.org" = "x"', "line 1: 'joe@example.org' must be a table"),
    ],
)
def test_a_fault_is_told_by_its_line(file: AccountFile, text: str, told: str) -> None:
    file.path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        file.fill(environment())
    assert str(raised.value).startswith(f"{file.path}: {told}")


# A running server


@pytest.fixture
def live(file: AccountFile) -> LiveEnvironment:
    def build() -> Environment:
        built = environment()
        file.fill(built)
        return built

    file.add(account("joe"))
    return LiveEnvironment(file.path, build)


def test_the_accounts_of_the_file_are_there(live: LiveEnvironment) -> None:
    assert live.knows("joe@example.org")
    assert live.knows("postmaster@example.org")


def test_a_login_sees_an_account_that_was_added_just_now(live: LiveEnvironment, file: AccountFile) -> None:
    file.add(account("ann", password="her own"))
    assert live.authenticate("ann@example.org", "her own").local == "ann"


def test_a_login_sees_that_an_account_was_removed(live: LiveEnvironment, file: AccountFile) -> None:
    file.remove("joe@example.org")
    with pytest.raises(InvalidCredential):
        live.authenticate("joe@example.org", "secret")


def test_a_session_sees_a_change_when_it_begins(live: LiveEnvironment, file: AccountFile) -> None:
    file.add(account("ann"))
    assert not live.knows("ann@example.org")
    live.refresh()
    assert live.knows("ann@example.org")


def test_a_file_that_has_not_changed_is_not_read_again(
    live: LiveEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: AccountFile, environment: Environment) -> None:
        pytest.fail("read again")

    monkeypatch.setattr(AccountFile, "fill", read)
    live.refresh()


@pytest.mark.parametrize("broken", ["[broken", None])
def test_a_fault_is_logged_once_and_the_accounts_stay(
    live: LiveEnvironment, file: AccountFile, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    if broken is None:
        file.path.unlink()
    else:
        file.path.write_text(broken, encoding="utf-8")
    live.refresh()
    live.refresh()
    assert live.knows("joe@example.org")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith(f"the accounts stay as they were: {file.path}: ")


def test_the_next_good_file_is_taken_after_a_bad_one(live: LiveEnvironment, file: AccountFile) -> None:
    good = file.path.read_text(encoding="utf-8")
    file.path.write_text("[broken", encoding="utf-8")
    live.refresh()
    file.path.write_text(good.replace("joe@", "ann@"), encoding="utf-8")
    live.refresh()
    assert live.knows("ann@example.org")
    assert not live.knows("joe@example.org")


# A crash


@posix
def test_a_kill_in_the_middle_of_a_change_leaves_the_old_file_and_no_lock(file: AccountFile) -> None:
    file.add(account("joe"))
    program = (
        "import os, sys, pathlib;"
        "from smtpx.accounts import AccountFile; from smtpx.environment import Account;"
        "pathlib.Path.replace = lambda *paths: os.kill(os.getpid(), 9);"
        "AccountFile(pathlib.Path(sys.argv[1])).add(Account('', 'ann', 'example.org'))"
    )
    killed = subprocess.run([sys.executable, "-c", program, file.path], check=False, timeout=60)
    assert killed.returncode == -9
    assert [one.local for one in file.read()] == ["joe"]
    file.add(account("bob"))
    assert [one.local for one in file.read()] == ["joe", "bob"]
    assert list(file.path.parent.iterdir()) == [file.path]
