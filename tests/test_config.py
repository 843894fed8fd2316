"""The configuration file: what it means, and how each fault is told with its line and its mend."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import re
from pathlib import Path

import pytest
from smtpx.certificate import make_certificate
from smtpx.config import Config, QueueConfig, TLSConfig, load
from smtpx.domain_config import DomainConfig
from smtpx.errors import ConfigurationError
from smtpx.limits import Limits
from smtpx.listener import Listener
from smtpx.schedule import Schedule

from tests.config_files import faults, read

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"


# What it means


def test_a_hostname_is_enough(file: Path) -> None:
    assert read(file, 'hostname = "mail.example.org"') == Config("mail.example.org")


def test_a_file_may_begin_with_a_bom(file: Path) -> None:
    assert read(file, '\ufeffhostname = "mail.example.org"') == Config("mail.example.org")


def test_a_whole_file(file: Path) -> None:
    config = read(
        file,
        """
hostname = "mail.example.org"
spool = "spool"
accounts = "/etc/accounts"

[[listener]]
service = "smtp"
host = "127.0.0.1"
port = 2525
[[listener]]
service = "submissions"
path = "smtp.socket"
bare_newline = "reject"

[tls]
certificate = "c.pem"
key = "k.pem"

[domains."example.org"]
aliases = { info = ["joe@example.org"] }

[limits]
recipients = 5
data_timeout = 10

[queue]
gaps = [60, 600.5]
lifetime = inf
keep_days = 7

[log]
format = "json"
""",
    )
    assert config.spool == file.parent / "spool"
    assert config.accounts == Path("/etc/accounts")
    assert config.tls == TLSConfig(file.parent / "c.pem", file.parent / "k.pem")
    assert config.listeners == (
        Listener("smtp", "127.0.0.1", 2525),
        Listener("submissions", path=file.parent / "smtp.socket", bare_newline="reject"),
    )
    assert config.domains == {"example.org": DomainConfig({"info": ("joe@example.org",)})}
    assert config.limits == Limits(recipients=5, data_timeout=10.0)
    assert config.queue.schedule() == Schedule(gaps=(60.0, 600.5), lifetime=math.inf)
    assert config.queue.keep_days == 7
    assert config.log.format == "json"


def test_the_example_of_the_documentation_is_a_configuration(file: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    config = read(file, example)
    assert config.hostname == "mail.example.org"
    assert [listener.service for listener in config.listeners] == [
        "smtp",
        "submission",
        "submissions",
        "smtp",
    ]
    assert config.domains["example.org"].aliases["info"] == ("sales@example.org",)


def test_the_documentation_names_every_limit_and_its_default() -> None:
    chapter = DOCUMENT.read_text(encoding="utf-8").partition("## `[limits]`")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", chapter, re.MULTILINE))
    assert documented == {key: str(int(value)) for key, value in dataclasses.asdict(Limits()).items()}


def test_the_documentation_names_every_setting_of_the_queue_and_its_default() -> None:
    chapter = DOCUMENT.read_text(encoding="utf-8").partition("## `[queue]`")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| ([\d., ]+) \|", chapter, re.MULTILINE))
    defaults = dataclasses.asdict(QueueConfig())
    gaps = ", ".join(f"{gap:g}" for gap in defaults.pop("gaps"))
    assert documented == {"gaps": gaps} | {key: f"{value:g}" for key, value in defaults.items()}


# How faults are told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: 'hostname' is missing: write hostname = \"mail.example.org\""),
        (
            '\n\nhostnam = "a.org"\nhostname = "a.org"',
            "line 3: unknown key 'hostnam', did you mean 'hostname'?",
        ),
        ("hostname = 1", "line 1: 'hostname' must be a string, in quotes, not 1"),
        ('hostname = "a b"', "line 1: 'a b' is not a domain name: write one like \"example.org\""),
        ('hostname = "joe@a.org"', "line 1: 'joe@a.org' is not a domain name"),
        ('hostname = "a.org"\nspool = 3', "line 2: 'spool' must be a path, in quotes, not 3"),
        ('hostname = "a.org"\ndomains = []', "line 2: 'domains' must be a table, not a list"),
        ('hostname = "a.org"\nlistener = 25', "line 2: 'listener' must be a list, in [brackets], not"),
    ],
)
def test_a_fault_at_the_top(file: Path, text: str, told: str) -> None:
    (line,) = faults(file, text)
    assert line.startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('service = "stmp"', "'service' must be one of 'smtp', 'submission', 'submissions', not 'stmp'"),
        ('service = "smtp"\nport = "25"', "'port' must be a whole number, without quotes, not '25'"),
        ('service = "smtp"\nport = true', "'port' must be a whole number, without quotes, not true"),
        ('service = "smtp"\nport = 65536', "port 65536: write one from 0 to 65535"),
        ('service = "submissions"', "'submissions' needs a certificate: write [tls] certificate and key"),
        ('service = "smtp"\nlisen = 1', "unknown key 'lisen'"),
    ],
)
def test_a_fault_of_a_listener_has_the_line_of_its_key(file: Path, text: str, told: str) -> None:
    before = 'hostname = "a.org"\n[[listener]]\nservice = "smtp"\n# a comment\n[[listener]]\n'
    (line,) = faults(file, before + text)
    number = 5 + text.count("\n") + 1
    assert line.startswith(f"line {number}: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gaps = []", "gaps must be one or more numbers of seconds"),
        ("gaps = [0]", "gaps must be one or more numbers of seconds"),
        ('gaps = ["1h"]', "'gaps' must be a number, without quotes, not '1h'"),
        ("jitter = 1", "jitter must be 0 or more, and less than 1"),
        ("lifetime = 0", "lifetime must be more than 0 seconds"),
        ("concurrency = 0", "concurrency must be 1 or more"),
        ("keep_days = 0", "keep_days must be 1 or more"),
    ],
)
def test_a_fault_of_the_queue_has_the_line_of_its_key(file: Path, text: str, told: str) -> None:
    (line,) = faults(file, f'hostname = "a.org"\n[queue]\nwarn_after = 60\n{text}')
    assert line.startswith(f"line 4: {told}")


def test_a_listener_has_a_path_or_a_port(file: Path) -> None:
    (line,) = faults(file, 'hostname = "a.org"\n[[listener]]\npath = "a"\nport = 25')
    assert line == "line 3: a Listener has a path, or a host and a port, not both"


def test_two_listeners_at_one_place(file: Path) -> None:
    (line,) = faults(file, 'hostname = "a.org"\n[[listener]]\n[[listener]]\nport = 25')
    assert line == "line 3: another [[listener]] has the same place: remove one, or change its port"


def test_two_free_ports_are_two_places(file: Path) -> None:
    config = read(file, 'hostname = "a.org"\n[[listener]]\nport = 0\n[[listener]]\nport = 0')
    assert len(config.listeners) == 2


@pytest.mark.parametrize(
    ("aliases", "told"),
    [
        ('info = "joe@a.org"', "'info' must be a list, in [brackets], not a string"),
        ("info = []", "'info' stands for nobody"),
        ('info = ["joe"]', "'joe' is not an address, as \"joe@example.org\""),
        ('info = ["joe@a.org", "<joe"]', "'<joe' is not an address"),
        ('"in fo" = ["joe@a.org"]', "'in fo@b.org' is not the local part of an address"),
    ],
)
def test_a_fault_of_an_alias(file: Path, aliases: str, told: str) -> None:
    (line,) = faults(file, f'hostname = "a.org"\n\n[domains."b.org".aliases]\n{aliases}')
    assert line.startswith(f"line 4: {told}")


@pytest.mark.parametrize("other", ["B.org", "xn--bcher-kva.org"])
def test_a_domain_in_two_spellings_is_told(file: Path, other: str) -> None:
    text = f'hostname = "a.org"\n[domains."b.org"]\n[domains."bücher.org"]\n[domains."{other}"]'
    assert faults(file, text) == [f"line 4: '{other}' is here twice, in another spelling: remove one"]


def test_an_alias_in_two_spellings_is_told(file: Path) -> None:
    text = 'hostname = "a.org"\n[domains."b.org".aliases]\ninfo = ["joe@c.org"]\nInfo = ["ann@c.org"]'
    assert faults(file, text) == ["line 4: 'Info' is here twice, in another spelling: remove one"]


def test_h74_a_loop_over_two_spellings_of_a_domain_is_told(file: Path) -> None:
    text = 'hostname = "a.org"\n[domains."bücher.org".aliases]\ninfo = ["INFO@xn--bcher-kva.org"]'
    (line,) = faults(file, text)
    assert line.startswith("line 3: 'info' leads only back to itself")


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("recipients = 0", "Limits.recipients must be more than 0"),
        ("recipients = 4294967296", "Limits.recipients must be at most 4294967295"),
        ("data_timeout = nan", "Limits.data_timeout must be more than 0"),
        ("recipients = 1.5", "'recipients' must be a whole number, without quotes, not 1.5"),
        ('message_size = "32 MiB"', "'message_size' must be a whole number, without quotes, not '32 MiB'"),
        ("recipient = 5", "unknown key 'recipient', did you mean 'recipients'?"),
    ],
)
def test_a_fault_of_a_limit(file: Path, limit: str, told: str) -> None:
    (line,) = faults(file, f'hostname = "a.org"\n[limits]\nerrors = 5\n{limit}')
    assert line == f"line 4: {told}"


def test_all_faults_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    lines = faults(file, 'spol = "x"\n[log]\nformat = "xml"\n[limits]\nerrors = "a"\nrecipients = "b"')
    assert [line.partition(":")[0] for line in lines] == ["line 1", "line 1", "line 3", "line 5", "line 6"]


def test_a_key_behind_a_value_of_many_lines_has_its_own_line(file: Path) -> None:
    (line,) = faults(file, 'hostname = """\\\n  a.org\\\n  """\nlisten = 1')
    assert line.startswith("line 4: unknown key 'listen', did you mean 'listener'?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('hostname = "a.org"\nspool = spool\n', "line 2, column 9: "),
        ('hostname = "a.org"\nhostname = "b.org"\n', "line 2, column "),
        ('hostname = "a.org"\n[tls', "line 2"),
    ],
)
def test_what_is_not_toml_has_its_line(file: Path, text: str, told: str) -> None:
    (line,) = faults(file, text)
    assert line.startswith(told)


def test_what_is_not_utf8_has_its_line(file: Path) -> None:
    file.write_bytes(b'hostname = "a.org"\n# \xff\n')
    with pytest.raises(ConfigurationError, match="line 2: this is not UTF-8"):
        load(file)


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"smtpx\.toml: cannot be read: No such file"):
        load(file)


# The files that it names

TLS = """\
hostname = "a.org"
spool = "."
accounts = "accounts.toml"
[tls]
certificate = "c.pem"
key = "k.pem"
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "accounts.toml").touch()
    pair = tmp_path / "c.pem", tmp_path / "k.pem"
    make_certificate(*pair)
    return pair


def test_files_that_are_there_and_belong_together_are_good(file: Path, pair: tuple[Path, Path]) -> None:
    file.write_text(TLS, encoding="utf-8")
    assert load(file).tls == TLSConfig(*pair)


def test_missing_files_are_told_each_with_its_line(file: Path) -> None:
    lines = faults(file, TLS.replace('"."', '"spool"'), files=True)
    assert [line.split(": ", 2)[:2] for line in lines] == [
        ["line 2", "'spool'"],
        ["line 3", "'accounts'"],
        ["line 5", "'certificate'"],
        ["line 6", "'key'"],
    ]
    assert "mkdir" in lines[0]
    assert "smtpx account add" in lines[1]


@pytest.mark.parametrize("name", ["spool", "accounts", "certificate", "key", "deliver"])
def test_a_place_that_the_user_may_not_look_at_is_told_with_its_line(
    file: Path, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    places = {"spool": tmp_path, "accounts": tmp_path / "accounts.toml", "deliver": tmp_path / "m"}
    closed = {**places, "certificate": pair[0], "key": pair[1]}[name]
    stat = Path.stat

    def refusing(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    (tmp_path / "m").mkdir()
    monkeypatch.setattr(Path, "stat", refusing)
    (line,) = faults(file, f'deliver = "maildir:{tmp_path}/m/{{local}}"\n{TLS}', files=True)
    assert re.match(rf"line \d: '{name}': {re.escape(str(closed))}: Permission denied: ", line)
    assert line.endswith("or run as the user whose they are")


@pytest.mark.parametrize("name", ["x" * 300, "x\\u0000x"])
def test_a_place_of_an_impossible_name_is_not_there(file: Path, pair: tuple[Path, Path], name: str) -> None:
    assert pair
    text = TLS.replace('"."', f'"{name}"').replace("c.pem", name)
    text = f'deliver = "maildir:/{name.replace("0000", "0001")}/{{local}}"\n{text}'
    told = [line.split(": ")[1:3] for line in faults(file, text, files=True)]
    assert [where for where, _ in told] == ["'deliver'", "'spool'", "'certificate'"]
    assert all(text.startswith("there is no ") for _, text in told)


def test_h66_a_key_that_does_not_belong_to_the_certificate(
    file: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    make_certificate(tmp_path / "other.pem", pair[1])
    (line,) = faults(file, TLS, files=True)
    assert line.startswith("line 4: cannot use certificate")
    assert line.endswith("give a PEM chain and the unencrypted key that belongs to it")


def test_a_certificate_that_is_none(file: Path, pair: tuple[Path, Path]) -> None:
    pair[0].write_text("not PEM", encoding="utf-8")
    (line,) = faults(file, TLS, files=True)
    assert line.startswith(f"line 4: cannot use certificate {pair[0]} with key {pair[1]}")


def test_an_encrypted_key_is_refused_and_its_password_not_asked_for(
    file: Path, pair: tuple[Path, Path]
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pair[1].read_bytes(), None)
    pair[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (line,) = faults(file, TLS, files=True)
    assert line.startswith("line 4: cannot use certificate")
