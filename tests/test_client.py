"""Client, on asyncio's loop and on uvloop, and SyncClient: what all three do."""

from __future__ import annotations

import contextlib
import inspect
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Client, CommandRefused, ConnectionLost, EngineError, MailTx
from smtpx.errors import ConfigurationError, MessageRefused, NotOffered

from tests.clients import CONTENT, mail, url
from tests.recorder import JOE, PASSWORD, Recorder
from tests.scripted import Step, close, half_close, hang, reset, say, then
from tests.sessions import polite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.live import LiveServers

SOON = 0.2
"""Seconds of a deadline that is to be missed."""


class Guestbook(Recorder):
    """Notes who came, from where, and by which name."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[str] = []
        self.names: list[str | None] = []

    def check_connect(self, session: smtpx.Session) -> None:
        self.peers.append(str(session.peer))

    def check_helo(self, session: smtpx.Session, name: str) -> None:
        self.names.append(name)


@pytest.fixture
def lmtp(tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """aiosmtpd's LMTP on a unix socket: its path, and what it has taken."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets")
    from aiosmtpd.controller import UnixSocketController
    from aiosmtpd.lmtp import LMTP

    taken: list[bytes] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            taken.append(envelope.content)
            return "250 2.0.0 taken"

    class Controller(UnixSocketController):
        def factory(self) -> LMTP:
            return LMTP(self.handler, hostname="lmtp.example")

    path = str(tmp_path / "a socket")
    controller = Controller(Handler(), unix_socket=path)
    controller.start()
    yield path, taken
    controller.stop()


# Where to


@pytest.mark.parametrize(
    "form", ["smtp://127.0.0.1:{}", "127.0.0.1:{}", "localhost:{}", "SMTP://LOCALHOST:{}"]
)
def test_the_url_names_the_server(client: Clients, live_server: LiveServers, form: str) -> None:
    live = live_server()
    with client(form.format(live.address[1])) as session:
        assert session.mail_tx(mail()).accepted == [JOE]


def test_an_ipv6_literal(client: Clients, environment: smtpx.Environment) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    guests = Guestbook()
    listeners = [smtpx.Listener("smtp", "::1", 0)]
    with (
        smtpx.SyncServer(environment, handler=guests, listeners=listeners) as server,
        client(f"smtp://[::1]:{server.listeners[0].port}") as session,
    ):
        session.mail_tx(mail())
    assert guests.names == ["[IPv6:::1]"]


def test_lmtp(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING", done=b"250 one\r\n450 two\r\n"))
    with client(server.url("lmtp")) as session:
        result = session.mail_tx(mail("a@c.example", "b@c.example"))
    assert (result.accepted, result.temporary) == (["a@c.example"], ["b@c.example"])
    assert server.received[0].startswith(b"LHLO [127.0.0.1]\r\n")


def test_lmtp_on_a_unix_socket(client: Clients, lmtp: tuple[str, list[bytes]]) -> None:
    path, taken = lmtp
    with client(f"lmtp+unix://{path.replace(' ', '%20')}") as session:
        assert session.server_info.domain == "lmtp.example"
        assert session.mail_tx(mail()).accepted == [JOE]
    assert taken == [CONTENT]


def test_a_unix_socket_that_is_not_there(client: Clients, tmp_path: Path) -> None:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets")
    with pytest.raises(ConnectionLost, match="No such file"), client(f"lmtp+unix://{tmp_path}/none"):
        pass


def test_the_local_name_is_our_address(client: Clients, live_server: LiveServers) -> None:
    guests = Guestbook()
    with client(url(live_server(guests))):
        pass
    assert guests.names == ["[127.0.0.1]"]


def test_the_local_name_of_a_unix_socket_is_localhost(client: Clients, lmtp: tuple[str, list[bytes]]) -> None:
    said: list[str] = []
    with client(f"lmtp+unix://{lmtp[0].replace(' ', '%20')}", trace=lambda way, line: said.append(line)):
        pass
    assert "LHLO localhost" in said


def test_a_local_name_of_ones_own(client: Clients, live_server: LiveServers) -> None:
    guests = Guestbook()
    with client(url(live_server(guests)), "me.example.org"):
        pass
    assert guests.names == ["me.example.org"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127/8")
def test_a_source_address(client: Clients, live_server: LiveServers) -> None:
    guests = Guestbook()
    with client(url(live_server(guests)), source_address=("127.0.0.2", 0)):
        pass
    assert "127.0.0.2" in guests.peers[0]


def test_a_source_address_that_is_not_ours(client: Clients, live_server: LiveServers) -> None:
    live = live_server()
    with pytest.raises(ConnectionLost), client(url(live), source_address=("192.0.2.1", 0)):
        pass


def test_a_name_that_nobody_has(client: Clients) -> None:
    with pytest.raises(ConnectionLost, match=r"nobody\.invalid"), client("smtp://nobody.invalid"):
        pass


# Connecting, and what there is before and after


def test_connect_returns_the_reply_to_ehlo(client: Clients, live_server: LiveServers) -> None:
    session = client(url(live_server()))
    response = session.connect()
    assert response.code == 250
    assert "PIPELINING" in response.body
    session.close()


def test_what_the_server_said_of_itself(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("SIZE 1000", "8BITMIME", "AUTH PLAIN LOGIN"))
    with client(server.url()) as session:
        info = session.server_info
    assert info.domain == "scripted.example"
    assert info.extensions == {"SIZE": ["1000"], "8BITMIME": [], "AUTH": ["PLAIN", "LOGIN"]}


def test_an_old_server_is_greeted_by_helo(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(ehlo=b"502 5.5.1 no\r\n"))
    with client(server.url()) as session:
        assert session.server_info.extensions == {}
        assert session.mail_tx(mail()).accepted == [JOE]


def _all_verbs(session: smtpx.SyncClient) -> list[Any]:
    return [
        session.noop,
        session.reset,
        session.help,
        lambda: session.verify("joe"),
        lambda: session.expand("list"),
        lambda: session.send_command(b"NOOP"),
        lambda: session.authenticate(smtpx.Mechanism.PLAIN, "joe", "x"),
        session.starttls,
        lambda: session.mail_tx(mail()),
        lambda: session.send(CONTENT, mail_from=JOE, recipients=[JOE]),
        session.quit,
    ]


def test_a_verb_before_connect_says_so(client: Clients) -> None:
    session = client("smtp://127.0.0.1")
    for verb in _all_verbs(session):
        with pytest.raises(EngineError, match="not connected"):
            verb()
    assert not session.connected
    with pytest.raises(EngineError, match="not connected"):
        _ = session.server_info
    session.close()


def test_a_verb_after_close_says_so(client: Clients, live_server: LiveServers) -> None:
    session = client(url(live_server()))
    session.connect()
    session.close()
    assert not session.connected
    for verb in _all_verbs(session):
        with pytest.raises(ConnectionLost, match="connect\\(\\) again"):
            verb()
    session.close()


def test_connect_again_after_close(client: Clients, live_server: LiveServers) -> None:
    live = live_server()
    session = client(url(live))
    for _ in range(3):
        session.connect()
        session.mail_tx(mail())
        session.close()
    assert len(live.recorder.messages) == 3


def test_enter_again_after_exit(client: Clients, live_server: LiveServers) -> None:
    session = client(url(live_server()))
    for _ in range(2):
        with session:
            assert session.mail_tx(mail()).accepted == [JOE]


def test_connect_twice_is_a_fault_of_the_program(client: Clients, live_server: LiveServers) -> None:
    with client(url(live_server())) as session:
        with pytest.raises(EngineError, match="connected already"):
            session.connect()
        session.noop()


@pytest.mark.parametrize("end", [close(), reset(), half_close()], ids=["close", "reset", "half_close"])
def test_connect_again_after_a_loss(client: Clients, scripted: Scripted, end: Step) -> None:
    server = scripted(polite(noop=end), polite())
    with client(server.url()) as session:
        with pytest.raises(ConnectionLost):
            session.noop()
        assert not session.connected
        session.connect()
        assert session.mail_tx(mail()).accepted == [JOE]


def test_connect_again_after_a_failure(client: Clients, scripted: Scripted) -> None:
    server = scripted([say(b"554 no\r\n")], polite())
    session = client(server.url())
    with pytest.raises(CommandRefused) as refused:
        session.connect()
    assert refused.value.code == 554
    with session:
        session.noop()


def test_quit_says_so_and_closes(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    session = client(server.url())
    session.connect()
    assert session.quit().code == 221
    assert not session.connected
    assert server.received[0].endswith(b"QUIT\r\n")


def test_close_says_nothing(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    session = client(server.url())
    session.connect()
    session.close()
    session.close()
    assert b"QUIT" not in server.received[0]


def test_exit_says_quit(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url()):
        pass
    assert server.received[0].endswith(b"QUIT\r\n")


def test_exit_by_an_exception_says_nothing(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with contextlib.suppress(ZeroDivisionError), client(server.url()) as session:
        session.noop()
        raise ZeroDivisionError
    assert server.received[0].endswith(b"NOOP\r\n")
    assert not session.connected


def test_exit_after_quit(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        session.quit()
    assert server.received[0].count(b"QUIT") == 1


def test_exit_does_not_wait_long_for_a_server_that_says_no_goodbye(
    client: Clients, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for link in (smtpx.link, smtpx.sync_link):
        monkeypatch.setattr(link, "_CLOSING", SOON)
    server = scripted(polite(quit=hang()))
    with client(server.url(), timeout=None):
        pass
    assert server.received[0].endswith(b"QUIT\r\n")


# The verbs


def test_the_verbs_give_the_reply(client: Clients, live_server: LiveServers) -> None:
    with client(url(live_server())) as session:
        assert session.noop().code == 250
        assert session.reset().code == 250
        assert session.help().code == 214
        assert session.help("MAIL").code == 214
        assert session.verify(JOE).code in {250, 252}
        assert session.send_command(b"NOOP hello").code == 250
        assert session.send_command("NOOP hello").code == 250
        assert session.quit().code == 221


def test_the_verbs_say_what_they_are_called(client: Clients, scripted: Scripted) -> None:
    ok = b"250 ok\r\n"
    server = scripted(polite(vrfy=ok, expn=ok, help=ok))
    with client(server.url()) as session:
        session.verify("joe")
        session.expand("list")
        session.help("MAIL")
        session.help()
        session.noop()
        session.reset()
    lines = server.received[0].split(b"\r\n")[1:]
    assert lines == [b"VRFY joe", b"EXPN list", b"HELP MAIL", b"HELP", b"NOOP", b"RSET", b"QUIT", b""]


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda session: session.verify("joe"), "VRFY joe"),
        (lambda session: session.expand("list"), "EXPN list"),
        (lambda session: session.help("X"), "HELP X"),
        (lambda session: session.send_command(b"XFOO bar"), "XFOO bar"),
    ],
)
def test_a_refusal_carries_the_command_and_the_reply(
    client: Clients, scripted: Scripted, call: Any, command: str
) -> None:
    server = scripted(
        polite(vrfy=b"550-5.1.1 no\r\n550 5.1.1 none\r\n", expn=b"550 no\r\n", help=b"504 no\r\n")
    )
    with client(server.url()) as session:
        with pytest.raises(CommandRefused) as refused:
            call(session)
        session.noop()
    assert refused.value.command == command
    assert refused.value.response.code == refused.value.code >= 500
    assert str(refused.value).startswith(f"{command}: {refused.value.code} ")


def test_a_name_beyond_ascii_needs_smtputf8(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("SMTPUTF8", vrfy=b"250 ok\r\n"), polite())
    with client(server.url()) as session:
        session.verify("jürgen")
    with client(server.url()) as session, pytest.raises(NotOffered) as lacking:
        session.verify("jürgen")
    assert lacking.value.extension == "SMTPUTF8"
    assert "VRFY jürgen SMTPUTF8\r\n".encode() in server.received[0]
    assert b"VRFY" not in server.received[1]


@pytest.mark.parametrize("command", [b"DATA", b"BDAT 1", b"STARTTLS", b"AUTH PLAIN", b"data"])
def test_a_command_that_is_more_than_a_line_is_not_sent(
    client: Clients, scripted: Scripted, command: bytes
) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        with pytest.raises(EngineError, match="use their methods"):
            session.send_command(command)
        session.noop()
    assert command.split()[0] + b"\r\n" not in server.received[0]


def test_ehlo_by_hand_renews_what_is_known(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(ehlo=[b"250-a\r\n250 SIZE 10\r\n", b"250-b\r\n250 SIZE 20\r\n"]))
    with client(server.url()) as session:
        session.send_command("EHLO me.example")
        assert session.server_info.extensions == {"SIZE": ["20"]}


def test_421_to_a_verb_ends_the_session_and_the_next_verb_tells_why(
    client: Clients, scripted: Scripted
) -> None:
    server = scripted(polite(noop=b"421 4.3.2 leaving\r\n"))
    with client(server.url()) as session:
        with pytest.raises(CommandRefused, match=r"421 4\.3\.2 leaving"):
            session.noop()
        assert not session.connected
        with pytest.raises(ConnectionLost, match=r"421 4\.3\.2 leaving"):
            session.verify("joe")
        with pytest.raises(ConnectionLost, match=r"421 4\.3\.2 leaving") as lost:
            session.mail_tx(mail())
        assert lost.value.result is not None
        assert lost.value.result.retry() == [JOE]
        with pytest.raises(ConnectionLost):
            session.quit()


def test_what_a_farewell_says_to_a_terminal_is_not_passed_on(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(mail=then(say(b"421 \x1b[2Jbye\r\n"), close())))
    with client(server.url()) as session:
        with pytest.raises(MessageRefused):
            session.mail_tx(mail())
        with pytest.raises(ConnectionLost) as lost:
            session.noop()
    assert "\x1b" not in str(lost.value)


# The two are one


def test_the_blocking_client_has_every_method_with_the_same_arguments() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_"):
            continue
        twin = getattr(smtpx.SyncClient, name)
        assert inspect.signature(twin) == inspect.signature(method), name
    properties = {name for name, value in vars(Client).items() if isinstance(value, property)}
    assert properties <= vars(smtpx.SyncClient).keys()


def test_arguments_that_cannot_work_are_told_when_the_client_is_made(client: Clients) -> None:
    with pytest.raises(ConfigurationError):
        client("http://example.org")
    with pytest.raises(TypeError):
        client("smtp://example.org", colour="red")
    assert PASSWORD not in repr(MailTx(JOE, [JOE], PASSWORD.encode()))
