"""What a handler is asked, in which order and with what; def or async def is the same to the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Handler, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live import LiveServers

pytestmark = pytest.mark.usefixtures("each_loop")

HOOKS = ["check_connect", "check_helo", "check_mail", "check_rcpt", "check_data", "serve_mail_tx"]
WRITTEN = ["def", "async-def", "async-def-that-waits"]


def written(call: Callable[..., Response | None], how: str) -> Callable[..., Any]:
    """The same method, written another way."""

    async def asynchronous(self: Handler, *arguments: Any) -> Response | None:
        if how == "async-def-that-waits":
            await asyncio.sleep(0)
        return call(self, *arguments)

    def synchronous(self: Handler, *arguments: Any) -> Response | None:
        return call(self, *arguments)

    return synchronous if how == "def" else asynchronous


def handler_of(how: str, methods: dict[str, Callable[..., Response | None]]) -> Handler:
    made: Handler = type("Made", (Handler,), {name: written(call, how) for name, call in methods.items()})()
    return made


@pytest.mark.parametrize("how", WRITTEN)
def test_hooks_are_asked_in_the_order_of_the_session(live_server: LiveServers, how: str) -> None:
    asked: list[tuple[Any, ...]] = []

    def recording(name: str) -> Callable[..., None]:
        def record(_: Handler, *arguments: Any) -> None:
            asked.append((name, *[argument for argument in arguments if isinstance(argument, str | dict)]))

        return record

    peer = live_server(handler_of(how, {name: recording(name) for name in HOOKS})).connect()
    peer.expect("220")
    peer.send(
        b"EHLO client.example\r\n"
        b"MAIL FROM:<a@example.net> body=8bitmime SMTPUTF8\r\n"
        b"RCPT TO:<b@example.org>\r\n"
        b"RCPT TO:<Postmaster>\r\n"
        b"BDAT 3\r\none"
        b"BDAT 3 LAST\r\ntwo"
        b"HELO other.example\r\n"
        b"MAIL FROM:<>\r\n"
        b"RCPT TO:<c@example.org>\r\n"
        b"DATA\r\n"
    )
    for code in [*["250"] * 9, "354"]:
        peer.expect(code)
    peer.send(b".\r\nQUIT\r\n")
    peer.expect("250")
    peer.expect("221")
    assert asked == [
        ("check_connect",),
        ("check_helo", "client.example"),
        ("check_mail", "a@example.net", {"BODY": "8bitmime", "SMTPUTF8": ""}),
        ("check_rcpt", "b@example.org", {}),
        ("check_rcpt", "Postmaster", {}),
        ("check_data",),
        ("serve_mail_tx",),
        ("check_helo", "other.example"),
        ("check_mail", "", {}),
        ("check_rcpt", "c@example.org", {}),
        ("check_data",),
        ("serve_mail_tx",),
    ]


REFUSALS = {
    "check_helo": ("EHLO client.example", "MAIL FROM:<a@example.net>", "503 5.5.1"),
    "check_mail": ("MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>", "503 5.5.1"),
    "check_rcpt": ("RCPT TO:<b@example.org>", "DATA", "554 5.5.1"),
    "check_data": ("DATA", "NOOP", "250 2.0.0"),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("hook", REFUSALS)
def test_a_refusal_is_what_the_client_hears_and_what_comes_next_is_a_command(
    live_server: LiveServers, hook: str, how: str
) -> None:
    refusal = Response(450, "4.7.1 not now", ["4.7.1 and not later"])
    peer = live_server(handler_of(how, {hook: lambda *_: refusal})).connect()
    line, after, answer = REFUSALS[hook]
    peer.expect("220")
    for before in ("EHLO client.example", "MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>"):
        if before == line:
            break
        peer.command(before, "250")
    peer.send(f"{line}\r\n{after}\r\n".encode())
    assert peer.expect("450 4.7.1").lines == ("4.7.1 not now", "4.7.1 and not later")
    peer.expect(answer)


@pytest.mark.parametrize("how", WRITTEN)
def test_a_refused_chunk_is_swallowed_and_the_session_goes_on(live_server: LiveServers, how: str) -> None:
    taken: list[bytes] = []
    methods: dict[str, Callable[..., Response | None]] = {
        "check_data": lambda *_: Response(450, "4.7.1 not now"),
        "serve_mail_tx": lambda _, mail: taken.append(mail.data),
    }
    peer = live_server(handler_of(how, methods)).connect()
    peer.open()
    peer.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    peer.expect("450 4.7.1")
    peer.expect("250 2.0.0")
    assert taken == []


@pytest.mark.parametrize("how", WRITTEN)
def test_the_answer_to_a_message_is_the_handlers(live_server: LiveServers, how: str) -> None:
    answers = [Response(250, "2.0.0 kept as 17"), Response(554, "5.7.1 spam"), None]
    peer = live_server(handler_of(how, {"serve_mail_tx": lambda *_: answers.pop(0)})).connect()
    peer.open()
    assert peer.message(b"one\r\n").lines == ("2.0.0 kept as 17",)
    for pattern in ("554 5.7.1", "250 2.0.0"):
        peer.command("MAIL FROM:<a@example.net>", "250")
        peer.command("RCPT TO:<b@example.org>", "250")
        peer.message(b"one\r\n", pattern)


@pytest.mark.parametrize("how", WRITTEN)
def test_a_recipient_that_is_forwarded_is_accepted(live_server: LiveServers, how: str) -> None:
    """251 is as good as 250 (RFC 5321 3.4)."""
    taken: list[list[str]] = []
    methods: dict[str, Callable[..., Response | None]] = {
        "check_rcpt": lambda *_: Response(251, "2.1.5 will forward"),
        "serve_mail_tx": lambda _, mail: taken.append(mail.recipients),
    }
    peer = live_server(handler_of(how, methods)).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<a@example.net>", "250")
    peer.command("RCPT TO:<b@example.org>", "251 2.1.5")
    peer.message(b"one\r\n")
    assert taken == [["b@example.org"]]


@pytest.mark.parametrize("how", WRITTEN)
def test_421_of_a_handler_closes_the_connection(live_server: LiveServers, how: str) -> None:
    peer = live_server(handler_of(how, {"check_mail": lambda *_: Response(421, "4.7.0 go away")})).connect()
    peer.expect("220")
    peer.send(b"EHLO client.example\r\nMAIL FROM:<a@example.net>\r\nNOOP\r\n")
    peer.expect("250")
    peer.expect("421 4.7.0")
    peer.expect_close()


@pytest.mark.parametrize("how", WRITTEN)
def test_logins_are_the_handlers_when_it_wants_them(live_server: LiveServers, how: str) -> None:
    def serve_auth(_: Handler, session: smtpx.Session, username: str, password: str) -> Response | None:
        asked.append((session.user, session.tls, username, password))
        return None if password == "right" else Response(535, "5.7.8 no")

    asked: list[tuple[str | None, bool, str, str]] = []
    peer = live_server(handler_of(how, {"serve_auth": serve_auth}), service="submissions").connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("AUTH PLAIN AGpvZQB3cm9uZw==", "535 5.7.8")
    peer.command("AUTH PLAIN AGpvZQByaWdodA==", "235 2.7.0")
    assert asked == [(None, True, "joe", "wrong"), (None, True, "joe", "right")]


def test_a_handler_may_be_async_in_one_method_and_not_in_another(live_server: LiveServers) -> None:
    class Mixed(Handler):
        async def check_rcpt(
            self, session: smtpx.Session, recipient: str, params: dict[str, str]
        ) -> Response | None:
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(0, recipient.startswith("good")))
            return None if task.result() else Response(550, "5.1.1 no")

        def serve_mail_tx(self, mail: smtpx.MailTx) -> Response:
            return Response(250, f"2.0.0 {' '.join(mail.recipients)}")

    peer = live_server(Mixed()).connect()
    peer.expect("220")
    peer.send(b"EHLO c.example\r\nMAIL FROM:<a@example.net>\r\n")
    peer.send(b"RCPT TO:<bad@example.org>\r\nRCPT TO:<good1@example.org>\r\nRCPT TO:<good2@example.org>\r\n")
    for pattern in ("250", "250 2.1.0", "550 5.1.1", "250 2.1.5", "250 2.1.5"):
        peer.expect(pattern)
    assert peer.message(b"one\r\n").lines == ("2.0.0 good1@example.org good2@example.org",)
