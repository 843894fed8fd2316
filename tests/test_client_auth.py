"""Logins of the clients: each mechanism on a connection, and what becomes of secrets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import ssl
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from scramp import ScramMechanism
from smtpx import CommandRefused, LoginRefused, Mechanism, NotOffered
from smtpx.errors import ConfigurationError, LoginBroken
from smtpx.sasl import _end_point

from tests.clients import mail
from tests.recorder import JOE, PASSWORD
from tests.scripted import Step, close, say, then
from tests.sessions import polite, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client import Run
    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.live import Certificate, LiveServers
    from tests.scripted import Connection

USER, SECRET = "joe", "pässwörd 1"


def answering(*challenges: bytes, end: bytes = b"235 2.7.0 welcome\r\n") -> Step:
    """Challenge so, whatever the answers are, and end."""

    def run(connection: Connection) -> None:
        for challenge in challenges:
            connection.send(b"334 %b\r\n" % b64encode(challenge))
            connection.until(b"\r\n")
        connection.send(end)

    return Step("answering()", run)


def cram_md5() -> Step:
    """Verify a digest (RFC 2195)."""

    def run(connection: Connection) -> None:
        challenge = b"<1896.697170952@scripted.example>"
        connection.send(b"334 %b\r\n" % b64encode(challenge))
        answer = b64decode(connection.until(b"\r\n") or b"").decode()
        digest = hmac.new(SECRET.encode(), challenge, hashlib.md5).hexdigest()
        connection.send(b"235 ok\r\n" if answer == f"{USER} {digest}" else b"535 5.7.8 no\r\n")

    return Step("cram_md5()", run)


def scram(*, password: str = SECRET, binding: bytes | None = None, proof_in_235: bool = False) -> Step:
    """Play the server's side of SCRAM-SHA-256, by scramp's."""

    def run(connection: Connection) -> None:
        name = "SCRAM-SHA-256" if binding is None else "SCRAM-SHA-256-PLUS"
        mechanism = ScramMechanism(name)
        known = mechanism.make_auth_info(password, iteration_count=4096)
        bound = None if binding is None else ("tls-server-end-point", binding)
        server = mechanism.make_server(lambda username: known, channel_binding=bound)
        first = bytes(connection.received).rsplit(b"\r\n", 2)[-2].split(b" ")[2]
        server.set_client_first(b64decode(first).decode())
        connection.send(b"334 %b\r\n" % b64encode(server.get_server_first().encode()))
        try:
            server.set_client_final(b64decode(connection.until(b"\r\n") or b"").decode())
        except Exception:  # whatever is wrong with it
            connection.send(b"535 5.7.8 no\r\n")
            return
        proof = b64encode(server.get_server_final().encode())
        if proof_in_235:
            connection.send(b"235 %b\r\n" % proof)
            return
        connection.send(b"334 %b\r\n" % proof)
        assert connection.until(b"\r\n") == b"\r\n"
        connection.send(b"235 2.7.0 welcome\r\n")

    return Step("scram()", run)


def login(secret: str = SECRET, **more: Any) -> dict[str, Any]:
    return {"username": USER, "password": secret, "cleartext_auth": True, **more}


# Each mechanism


@pytest.mark.parametrize("service", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.LOGIN])
def test_plain_and_login_on_our_own_server(
    client: Clients, live_server: LiveServers, certificate: Certificate, mechanism: Mechanism, service: Any
) -> None:
    live = live_server(service=service)
    scheme = "smtps" if service == "submissions" else "smtp+starttls"
    where = f"{scheme}://localhost:{live.address[1]}"
    options = {"username": JOE, "password": PASSWORD, "mechanisms": [mechanism], "tls": certificate.client}
    with client(where, **options) as session:
        assert session.mail_tx(smtpx.MailTx(JOE, [JOE], b"x\r\n")).accepted == [JOE]


def test_a_wrong_password_on_our_own_server(
    client: Clients, live_server: LiveServers, certificate: Certificate
) -> None:
    live = live_server(service="submissions")
    where = f"smtps://joe%40example.org:wrong@localhost:{live.address[1]}"
    session = client(where, tls=certificate.client)
    with pytest.raises(LoginRefused) as refused:
        session.connect()
    assert isinstance(refused.value, smtpx.InvalidCredential)
    assert refused.value.code == 535
    assert refused.value.command == "AUTH PLAIN"
    assert not session.connected


def test_plain_is_one_line(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH PLAIN LOGIN"))
    with client(server.url(), **login()):
        pass
    assert b"AUTH PLAIN %b\r\n" % b64encode(f"\0{USER}\0{SECRET}".encode()) in server.received[0]


def test_login_answers_two_prompts(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH LOGIN", auth=answering(b"Username:", b"Password:")))
    with client(server.url(), **login()):
        pass
    said = b"AUTH LOGIN\r\n%b\r\n%b\r\n" % (b64encode(USER.encode()), b64encode(SECRET.encode()))
    assert said in server.received[0]


def test_cram_md5_where_it_is_asked_for(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH CRAM-MD5 PLAIN", auth=cram_md5()))
    with client(server.url(), **login(mechanisms=[Mechanism.CRAM_MD5], cleartext_auth=False)) as session:
        session.noop()
    assert b"AUTH CRAM-MD5\r\n" in server.received[0]


def test_cram_md5_is_not_used_unasked(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH CRAM-MD5"))
    with pytest.raises(NotOffered, match="mechanisms="), client(server.url(), **login()):
        pass
    assert b"AUTH" not in server.received[0]


@pytest.mark.parametrize("proof_in_235", [False, True])
def test_scram_needs_no_tls(client: Clients, scripted: Scripted, proof_in_235: bool) -> None:
    server = scripted(polite("AUTH PLAIN SCRAM-SHA-256", auth=scram(proof_in_235=proof_in_235)))
    with client(server.url(), **login(cleartext_auth=False)) as session:
        session.noop()
    assert b"AUTH SCRAM-SHA-256 " in server.received[0]


def test_scram_by_hand(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH SCRAM-SHA-256", auth=scram()))
    with client(server.url()) as session:
        assert session.authenticate(Mechanism.SCRAM_SHA_256, USER, SECRET).code == 235


def test_scram_with_a_wrong_password(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH SCRAM-SHA-256", auth=scram(password="another")))
    with pytest.raises(LoginRefused), client(server.url(), **login()):
        pass


def test_scram_by_a_server_that_knows_no_password(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH SCRAM-SHA-256"))  # it says 235 to everything
    session = client(server.url(), **login())
    with pytest.raises(LoginBroken, match="proved nothing"):
        session.connect()
    assert not session.connected


def test_scram_plus_is_bound_to_the_certificate(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate.path.read_text())
    keywords = ("STARTTLS", "AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS")
    bound = scram(binding=_end_point(der))
    server = scripted(polite(*keywords, starttls=upgrade(certificate.server), auth=bound))
    where = server.url("smtp+starttls", "localhost")
    with client(where, username=USER, password=SECRET, tls=certificate.client) as session:
        session.noop()
    assert b"AUTH SCRAM-SHA-256-PLUS " in server.received[0]


@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token(client: Clients, scripted: Scripted, name: str) -> None:
    server = scripted(polite(f"AUTH PLAIN {name}"))
    with client(server.url(), username=USER, token="t0ken", cleartext_auth=True) as session:
        session.noop()
    line = next(line for line in server.received[0].split(b"\r\n") if line.startswith(b"AUTH"))
    _, mechanism, initial = line.split(b" ")
    assert mechanism.decode() == name
    assert b"auth=Bearer t0ken\1\1" in b64decode(initial)


@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_that_has_expired(client: Clients, scripted: Scripted, name: str) -> None:
    expired = answering(b'{"status":"401"}', end=b"535 5.7.8 expired\r\n")
    server = scripted(polite(f"AUTH {name}", auth=expired))
    with (
        pytest.raises(LoginRefused, match=r"535 5\.7\.8 expired"),
        client(server.url(), username=USER, token="t0ken", cleartext_auth=True),
    ):
        pass


def test_a_long_token_answers_the_first_challenge(client: Clients, scripted: Scripted) -> None:
    token = "t" * 10_000
    server = scripted(polite("AUTH XOAUTH2", auth=answering(b"")))
    with client(server.url(), username=USER, token=token, cleartext_auth=True) as session:
        session.noop()
    assert b"AUTH XOAUTH2\r\n" in server.received[0]


# The function that gives a token


def test_the_token_is_asked_for_at_each_login(client: Clients, scripted: Scripted) -> None:
    tokens = iter(["first", "second"])
    server = scripted(polite("AUTH XOAUTH2"), polite("AUTH XOAUTH2"))
    session = client(server.url(), username=USER, token=lambda: next(tokens), cleartext_auth=True)
    for _ in range(2):
        with session:
            pass
    shown = [b64decode(said.split(b"AUTH XOAUTH2 ")[1].split(b"\r\n")[0]) for said in server.received]
    assert [b"first" in shown[0], b"second" in shown[1]] == [True, True]


def test_the_token_may_be_awaited(run: Run, scripted: Scripted) -> None:
    server = scripted(polite("AUTH XOAUTH2"))

    async def token() -> str:
        await asyncio.sleep(0)
        return "awaited"

    async def main() -> None:
        async with smtpx.Client(server.url(), username=USER, token=token, cleartext_auth=True) as client:
            await client.noop()

    run(main())
    assert b64encode(b"user=joe\1auth=Bearer awaited\1\1") in server.received[0]


def test_a_blocking_client_awaits_no_token(scripted: Scripted) -> None:
    async def token() -> str:
        return "x"

    server = scripted(polite("AUTH XOAUTH2"))
    with (
        pytest.raises(ConfigurationError, match="not async"),
        smtpx.SyncClient(server.url(), username=USER, token=token, cleartext_auth=True),
    ):
        pass
    assert b"AUTH" not in server.received[0]


class _Broken(Exception):
    pass


@pytest.mark.parametrize(("fault", "raised"), [(_Broken(), _Broken), (StopIteration("x"), RuntimeError)])
def test_a_token_that_cannot_be_had_ends_the_session(
    client: Clients, scripted: Scripted, fault: BaseException, raised: type[Exception]
) -> None:
    def token() -> str:
        raise fault

    server = scripted(polite("AUTH XOAUTH2"))
    session = client(server.url(), username=USER, token=token, cleartext_auth=True)
    with pytest.raises(raised):
        session.connect()
    assert not session.connected
    assert b"AUTH" not in server.received[0]


def test_a_token_that_is_no_text(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH XOAUTH2"))
    none: Callable[[], Any] = lambda: None  # noqa: E731
    with (
        pytest.raises(TypeError, match="NoneType, not str"),
        client(server.url(), username=USER, token=none, cleartext_auth=True),
    ):
        pass


# In the clear


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_a_secret_is_not_shown_without_tls(client: Clients, scripted: Scripted, name: str) -> None:
    secret = {"token": "t"} if "OAUTH" in name else {"password": SECRET}
    server = scripted(polite(f"AUTH {name}"))
    with pytest.raises(NotOffered, match="not in the clear"), client(server.url(), username=USER, **secret):
        pass
    assert b"AUTH" not in server.received[0]


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.LOGIN, Mechanism.XOAUTH2])
def test_a_secret_is_not_shown_without_tls_by_hand(
    client: Clients, scripted: Scripted, mechanism: Mechanism
) -> None:
    server = scripted(polite(f"AUTH {mechanism.wire}"))
    with client(server.url()) as session:
        with pytest.raises(NotOffered, match="not in the clear"):
            session.authenticate(mechanism, USER, "t")
        session.noop()
    assert b"AUTH" not in server.received[0]


def test_a_server_without_auth_is_told(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with pytest.raises(NotOffered, match="offers no AUTH") as lacking, client(server.url(), **login()):
        pass
    assert lacking.value.extension == "AUTH"


def test_the_next_try_is_on_the_same_connection(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH PLAIN", auth=[b"535 5.7.8 no\r\n", b"454 4.7.0 later\r\n", b"235 ok\r\n"]))
    with client(server.url(), cleartext_auth=True) as session:
        with pytest.raises(LoginRefused):
            session.authenticate(Mechanism.PLAIN, USER, "wrong")
        with pytest.raises(CommandRefused) as refused:
            session.authenticate(Mechanism.PLAIN, USER, SECRET)
        assert not isinstance(refused.value, LoginRefused)
        assert session.authenticate(Mechanism.PLAIN, USER, SECRET).code == 235
        assert session.mail_tx(mail()).accepted == [JOE]


def test_a_broken_exchange_is_given_up(client: Clients, scripted: Scripted) -> None:
    def run(connection: Connection) -> None:
        connection.send(b"334 %b\r\n" % b64encode(b"r=evil,s=AAAA,i=1"))
        assert connection.until(b"\r\n") == b"*\r\n"
        connection.send(b"501 5.7.0 given up\r\n")

    server = scripted(polite("AUTH SCRAM-SHA-256", auth=Step("evil()", run)))
    with client(server.url()) as session:
        with pytest.raises(LoginBroken):
            session.authenticate(Mechanism.SCRAM_SHA_256, USER, SECRET)
        session.noop()


def test_a_connection_that_ends_within_a_login(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("AUTH LOGIN", auth=then(say(b"334 VXNlcm5hbWU6\r\n"), close())))
    with pytest.raises(smtpx.ConnectionLost), client(server.url(), **login()):
        pass


# What is seen of it


@pytest.mark.parametrize(
    ("keywords", "auth", "settings"),
    [
        ("AUTH PLAIN", b"235 ok\r\n", {}),
        ("AUTH LOGIN", answering(b"Username:", b"Password:"), {}),
        ("AUTH CRAM-MD5", cram_md5(), {"mechanisms": [Mechanism.CRAM_MD5]}),
        ("AUTH SCRAM-SHA-256", scram(), {}),
        ("AUTH PLAIN", b"535 5.7.8 no\r\n", {}),
        ("AUTH LOGIN", answering(b"Username:", b"Password:", end=b"535 5.7.8 no\r\n"), {}),
    ],
    ids=["plain", "login", "cram", "scram", "plain-refused", "login-refused"],
)
def test_secrets_are_shown_nowhere(
    client: Clients,
    scripted: Scripted,
    caplog: pytest.LogCaptureFixture,
    keywords: str,
    auth: Any,
    settings: dict[str, Any],
) -> None:
    seen: list[str] = []
    errors: list[str] = []
    server = scripted(polite(keywords, auth=auth), polite(keywords, auth=auth))
    with caplog.at_level(logging.DEBUG):
        for options in (login(**settings), login(**settings, trace=lambda way, line: seen.append(line))):
            try:
                with client(server.url(), **options) as session:
                    session.noop()
            except LoginRefused as error:
                errors += [str(error), repr(error)]
    shown = "\n".join([*seen, *errors, *(record.getMessage() for record in caplog.records)])
    assert "AUTH" in "".join(seen)
    sent = server.received[0].decode()
    secrets = {
        SECRET,
        b64encode(SECRET.encode()).decode(),
        b64encode(f"\0{USER}\0{SECRET}".encode()).decode(),
    }
    words = {word for line in sent.split("\r\n") for word in line.split(" ")[2:] if line.startswith("AUTH")}
    for secret in secrets | words:
        assert secret not in shown
