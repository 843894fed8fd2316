"""The command line, driven as its users drive it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import smtpx as package
from smtpx.accounts import AccountFile
from smtpx.environment import Account
from smtpx.errors import InvalidCredential

from tests.served import PATIENCE, smtpx


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tmp_path / "smtpx.toml"
    config.write_text('hostname = "example.org"\naccounts = "accounts.toml"\nspool = "."\n', encoding="utf-8")
    return config


@pytest.fixture
def accounts(config: Path) -> AccountFile:
    file = AccountFile(config.parent / "accounts.toml")
    file.add(Account.create("Joe Smith", "joe", "example.org", "secret", rounds=4))
    return file


# Help, and the version


def test_the_version() -> None:
    assert smtpx("--version").stdout == f"smtpx {package.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands_and_how_to_try_it(arguments: list[str]) -> None:
    shown = smtpx(*arguments)
    assert "smtpx serve --demo" in shown.stdout
    for command in ("serve", "check", "account"):
        assert command in shown.stdout


def test_the_help_of_serve_names_its_defaults_and_signals() -> None:
    shown = smtpx("serve", "--help").stdout
    for word in ("/etc/smtpx/smtpx.toml", "2525", "4650", "text|json", "SIGHUP", "SIGTERM"):
        assert word in shown


@pytest.mark.parametrize("missing", ["typer", "rich", "cryptography"])
def test_without_its_packages_it_says_how_to_get_them(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from smtpx.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 1
    assert ended.stderr == f"smtpx: the command line needs {missing}: pip install 'smtpx[cli]'\n"


def test_another_missing_module_is_not_taken_for_one_of_them() -> None:
    program = "import sys; sys.modules['bcrypt'] = None; from smtpx.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "smtpx[cli]" not in ended.stderr
    assert "bcrypt" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_without_room_is_told_in_a_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [sys.executable, "-m", "smtpx", "--version"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    assert ended.returncode == 1
    assert ended.stderr == "smtpx: the output could not be written: No space left on device\n"


# serve: what cannot be meant


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--demo", "smtpx.toml"], "--demo has a configuration of its own"),
        (["--port", "0"], "--port and --tls-port are for --demo"),
        (["--tls-port", "0", "smtpx.toml"], "--port and --tls-port are for --demo"),
        (["--demo", "--port", "65536"], "less than or equal to 65535"),
        (["--log", "xml"], "xml"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], told: str, tmp_path: Path) -> None:
    ended = smtpx("serve", *arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert told in ended.stderr


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    ended = smtpx("serve", tmp_path / "absent.toml")
    assert (ended.returncode, ended.stdout) == (1, "")
    told = f"{tmp_path}/absent.toml: cannot be read: No such file or directory; make it, or name another"
    assert ended.stderr == f"error: {told}\n"


def test_a_folder_that_cannot_be_written_to_is_no_place_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "smtpx-demo").touch()
    ended = smtpx("serve", "--demo", cwd=tmp_path)
    assert ended.returncode == 1
    assert "change to a folder that you can write to" in ended.stderr


# check


def test_check_says_what_is_good(config: Path, accounts: AccountFile) -> None:
    checked = smtpx("check", config)
    assert (checked.returncode, checked.stdout) == (0, f"{config}: good; 1 domain, 1 account\n")


def test_check_tells_every_fault_by_its_line(config: Path, accounts: AccountFile) -> None:
    config.write_text('hostnam = "a"\n[limits]\nerrors = "x"\n', encoding="utf-8")
    checked = smtpx("check", config)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert checked.stderr.splitlines() == [
        f"error: {config}: line 1: 'hostname' is missing: write hostname = \"mail.example.org\"",
        f"error: {config}: line 1: unknown key 'hostnam', did you mean 'hostname'?",
        f"error: {config}: line 3: 'errors' must be a whole number, without quotes, not 'x'",
    ]


def test_check_reads_the_account_file_too(config: Path, accounts: AccountFile) -> None:
    accounts.add(Account("", "joe", "example.net"))
    checked = smtpx("check", config)
    assert checked.returncode == 1
    assert f"{accounts.path}: line 8: 'joe@example.net' is of no domain here" in checked.stderr


ALIASES = """\
[domains."example.net".aliases]
sales = [
  "joe@example.org",
  "jo@example.org",
  "ann@elsewhere.example",
  "info@example.net",
]
info = ["postmaster@example.net"]
"""


def test_check_tells_of_an_alias_that_leads_to_no_mailbox(config: Path, accounts: AccountFile) -> None:
    config.write_text(config.read_text(encoding="utf-8") + ALIASES, encoding="utf-8")
    checked = smtpx("check", config)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert checked.stderr == (
        f"error: {config}: line 5: 'sales' leads to jo@example.org, which is no mailbox here:"
        " make it with smtpx account add jo@example.org, or correct it\n"
    )


def test_check_is_content_once_the_mailbox_is_there(config: Path, accounts: AccountFile) -> None:
    config.write_text(config.read_text(encoding="utf-8") + ALIASES, encoding="utf-8")
    accounts.add(Account("", "jo", "example.org"))
    assert smtpx("check", config).returncode == 0


def test_h74_check_tells_of_aliases_that_lead_only_back_to_themselves(
    config: Path, accounts: AccountFile
) -> None:
    loop = 'a = ["B@example.net"]\nb = ["a@example.net"]\nc = ["a@example.net"]\n'
    loop = f'[domains."example.net".aliases]\n{loop}'
    config.write_text(config.read_text(encoding="utf-8") + loop, encoding="utf-8")
    checked = smtpx("check", config)
    assert (checked.returncode, checked.stdout) == (1, "")
    told = [line.removeprefix(f"error: {config}: ") for line in checked.stderr.splitlines()]
    assert told == [
        f"line {line}: '{alias}' leads only back to itself: name an address that is no alias"
        for line, alias in [(5, "a"), (6, "b"), (7, "c")]
    ]


def test_check_misses_an_account_file_that_is_not_there(config: Path) -> None:
    checked = smtpx("check", config)
    assert checked.returncode == 1
    assert "make it with smtpx account add" in checked.stderr


# account


def test_an_account_is_added_to_the_file_of_the_configuration(config: Path) -> None:
    added = smtpx(
        "account",
        "add",
        "ann@example.org",
        "--name",
        "Ann",
        "--config",
        config,
        "--password-stdin",
        stdin="öffne\n",
    )
    assert (added.returncode, added.stdout) == (0, "added ann@example.org\n")
    (ann,) = AccountFile(config.parent / "accounts.toml").read()
    ann.authenticate("öffne")
    assert str(ann) == "Ann <ann@example.org>"


def test_accounts_are_listed_one_a_line(accounts: AccountFile) -> None:
    accounts.add(Account("", "ann", "example.org"))
    listed = smtpx("account", "list", "--accounts", accounts.path)
    assert listed.stdout == "joe@example.org\tJoe Smith\nann@example.org\n"


def test_a_password_is_changed(accounts: AccountFile) -> None:
    changed = smtpx(
        "account", "passwd", "joe@example.org", "--accounts", accounts.path, "--password-stdin", stdin="new"
    )
    assert changed.stdout == "changed the password of joe@example.org\n"
    (joe,) = accounts.read()
    joe.authenticate("new")
    with pytest.raises(InvalidCredential):
        joe.authenticate("secret")
    assert joe.name == "Joe Smith"


def test_an_account_is_removed(accounts: AccountFile) -> None:
    removed = smtpx("account", "remove", "joe@example.org", "--accounts", accounts.path)
    assert removed.stdout == "removed joe@example.org\n"
    assert accounts.read() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "joe@example.org", "--password-stdin"], "joe@example.org has an account already"),
        (["passwd", "ann@example.org", "--password-stdin"], "has no account ann@example.org"),
        (["remove", "ann@example.org"], "has no account ann@example.org"),
        (["add", "<ann@example.org", "--password-stdin"], "<ann@example.org"),
    ],
)
def test_what_cannot_be_done_to_an_account_is_told(
    accounts: AccountFile, arguments: list[str], told: str
) -> None:
    before = accounts.path.read_bytes()
    ended = smtpx("account", *arguments, "--accounts", accounts.path, stdin="secret\n")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert told in ended.stderr
    assert accounts.path.read_bytes() == before


@pytest.mark.parametrize(
    ("password", "status", "told"),
    [
        ("\n", 2, "the password is empty"),
        ("x" * 73, 1, "72 octets"),
        ("nul\0nul", 1, "NUL"),
    ],
)
def test_a_password_that_bcrypt_would_cut_or_that_is_none_is_refused(
    accounts: AccountFile, password: str, status: int, told: str
) -> None:
    ended = smtpx(
        "account", "add", "a@example.org", "--accounts", accounts.path, "--password-stdin", stdin=password
    )
    assert ended.returncode == status
    assert told in ended.stderr


def test_an_account_of_a_domain_that_the_configuration_lacks_is_refused(
    config: Path, accounts: AccountFile
) -> None:
    ended = smtpx("account", "add", "ann@example.net", "--config", config, "--password-stdin", stdin="x\n")
    assert ended.returncode == 1
    assert 'is of no domain here: add [domains."example.net"] first' in ended.stderr


def test_an_address_without_a_domain_is_refused(accounts: AccountFile) -> None:
    ended = smtpx("account", "add", "ann", "--accounts", accounts.path, "--password-stdin", stdin="x\n")
    assert ended.returncode == 2
    assert "'ann' has no domain: write local@domain" in ended.stderr


def test_a_password_is_not_asked_for_where_nobody_can_answer(accounts: AccountFile) -> None:
    ended = smtpx("account", "passwd", "joe@example.org", "--accounts", accounts.path)
    assert ended.returncode == 2
    assert "--password-stdin" in ended.stderr


def test_a_password_is_never_taken_from_the_arguments(accounts: AccountFile) -> None:
    for option in ("--password", "-p"):
        ended = smtpx("account", "passwd", "joe@example.org", option, "x", "--accounts", accounts.path)
        assert ended.returncode == 2


def test_the_account_file_is_named_once(config: Path, accounts: AccountFile) -> None:
    ended = smtpx("account", "list", "--config", config, "--accounts", accounts.path)
    assert ended.returncode == 2
    assert "leave one out" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(("again", "status"), [("typed", 0), ("mistyped", 1)])
def test_a_password_is_asked_for_twice_at_a_terminal_and_not_shown(
    accounts: AccountFile, again: str, status: int
) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "smtpx", "account", "passwd", "joe@example.org", "--accounts", accounts.path],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # away from our own terminal, which getpass would prefer
    ) as process:
        os.close(theirs)
        shown = read_until(ours, b"Password: ")
        os.write(ours, b"typed\n")
        shown += read_until(ours, b"Repeat for confirmation: ")
        os.write(ours, again.encode() + b"\n")
        if status:  # it asks anew; end of input is the way out
            shown += read_until(ours, b"do not match.\r\nPassword: ")
            os.write(ours, b"\x04")
        shown += read_until(ours, None)
        assert process.wait(PATIENCE) == status
    os.close(ours)
    assert b"typed" not in shown
    (joe,) = accounts.read()
    joe.authenticate("secret" if status else "typed")


def read_until(descriptor: int, words: bytes | None) -> bytes:
    """Read what a terminal shows, up to some words or to its end."""
    shown = b""
    while words is None or words not in shown:
        assert select.select([descriptor], [], [], PATIENCE)[0], shown
        try:
            part = os.read(descriptor, 1000)
        except OSError:  # how Linux says that nobody holds the other side any more
            part = b""
        if not part:
            assert words is None, shown
            break
        shown += part
    return shown
