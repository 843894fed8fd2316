"""HOSTILE rows 100 and 101: handlers that raise, are cancelled, answer nonsense, or hang."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Response

from tests.recorder import Hanging, Recorder

if TYPE_CHECKING:
    from tests.live import LiveServers
    from tests.peer import Peer

pytestmark = pytest.mark.usefixtures("each_loop")

SECRET = "the database at 10.1.2.3 said no"


# Row 100: a handler raises.

HOOKS = {
    "check_helo": "EHLO client.example",
    "check_mail": "MAIL FROM:<joe@example.org>",
    "check_rcpt": "RCPT TO:<ann@example.org>",
    "check_data": "DATA",
    "serve_verify": "VRFY joe",
    "serve_expand": "EXPN joe",
}


def failing(hook: str, *, is_async: bool) -> Recorder:
    """A Recorder of which one method raises."""

    def fail(*_: Any) -> Response | None:
        raise RuntimeError(SECRET)

    async def fail_later(*_: Any) -> Response | None:
        await asyncio.sleep(0)
        raise RuntimeError(SECRET)

    made: Recorder = type("Failing", (Recorder,), {hook: fail_later if is_async else fail})()
    return made


def play(peer: Peer, until: str) -> None:
    """Send what comes before a command, and have it accepted."""
    peer.expect("220")
    for line in ("EHLO client.example", "MAIL FROM:<joe@example.org>", "RCPT TO:<ann@example.org>"):
        if line == until:
            return
        peer.command(line, "250")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
@pytest.mark.parametrize("hook", HOOKS)
def test_h100_a_hook_that_raises_is_451_and_the_session_goes_on(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, hook: str, is_async: bool
) -> None:
    peer = live_server(failing(hook, is_async=is_async)).connect()
    play(peer, HOOKS[hook])
    reply = peer.command(HOOKS[hook], "451 4.3.0")
    assert SECRET not in str(reply)
    assert SECRET in caplog.text
    peer.command("NOOP", "250 2.0.0")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
def test_h100_a_message_handler_that_raises_is_451_and_the_next_message_is_taken(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    peer = live_server(failing("serve_mail_tx", is_async=is_async)).connect()
    peer.open()
    reply = peer.message(b"one\r\n", "451 4.3.0")
    assert SECRET not in str(reply)
    assert SECRET in caplog.text
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
def test_h100_a_connect_hook_that_raises_lets_nobody_in(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    peer = live_server(failing("check_connect", is_async=is_async)).connect()
    # A banner is 220, 421 or 554 (RFC 5321 4.3.2); as a refusal before the session 451 is sent by some, too.
    reply = peer.last_reply()
    assert reply.code in (421, 451, 554)
    assert SECRET not in str(reply)
    assert SECRET in caplog.text


@pytest.mark.parametrize("answer", ["250 OK", 250, True, b"250 OK\r\n"])
def test_h100_a_handler_that_answers_nonsense_is_451(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    class Wrong(smtpx.Handler):
        def serve_mail_tx(self, mail: smtpx.MailTx) -> Response:
            return answer  # type: ignore[return-value]

    peer = live_server(Wrong()).connect()
    peer.open()
    peer.message(b"one\r\n", "451 4.3.0")
    peer.command("NOOP", "250 2.0.0")
    assert "Response" in caplog.text


def test_h100_a_handler_whose_own_task_was_cancelled_is_451(live_server: LiveServers) -> None:
    """It awaits something that somebody else has cancelled: CancelledError, which is no Exception."""

    class Cancelled(Recorder):
        async def check_rcpt(  # type: ignore[override]
            self, session: smtpx.Session, recipient: str, params: dict[str, str]
        ) -> None:
            if recipient == "cancelled@example.org":
                raise asyncio.CancelledError  # at once: before it ever waits

        async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task

        def serve_verify(self, session: smtpx.Session, name: str) -> Response:
            raise asyncio.CancelledError

    peer = live_server(Cancelled()).connect()
    peer.open()
    peer.command("RCPT TO:<cancelled@example.org>", "451 4.3.0")
    peer.message(b"one\r\n", "451 4.3.0")
    peer.command("VRFY joe", "451 4.3.0")
    peer.command("NOOP", "250 2.0.0")


def test_h100_a_login_that_is_cancelled_is_a_temporary_failure(live_server: LiveServers) -> None:
    class Cancelled(Recorder):
        async def serve_auth(self, session: smtpx.Session, username: str, password: str) -> Response:  # type: ignore[override]
            raise asyncio.CancelledError

    peer = live_server(Cancelled(), service="submissions").connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    # An exception is 454 (row 58), a cancellation 451 (row 101); it is both, and 535 it is not.
    peer.command("AUTH PLAIN AGEAYg==", "454 4.7.0|451 4.3.0")
    peer.command("NOOP", "250 2.0.0")


def answering(hook: str, code: int, *, is_async: bool) -> Recorder:
    """A Recorder of which one method answers with a code."""

    def answer(*_: Any) -> Response:
        return Response(code, "a text")

    async def answer_later(*_: Any) -> Response:
        await asyncio.sleep(0)
        return Response(code, "a text")

    made: Recorder = type("Answering", (Recorder,), {hook: answer_later if is_async else answer})()
    return made


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
@pytest.mark.parametrize("hook", HOOKS)
def test_h100_a_hooks_code_that_asks_for_more_does_not_reach_the_client(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, hook: str, is_async: bool
) -> None:
    code = 334 if hook == "check_data" else 354
    peer = live_server(answering(hook, code, is_async=is_async)).connect()
    play(peer, HOOKS[hook])
    peer.command(HOOKS[hook], "451 4.3.0")
    assert f"answered {code} to {HOOKS[hook].split()[0]}: give None or 2yz to accept" in caplog.text
    peer.command("NOOP", "250 2.0.0")


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async-def"])
def test_h100_a_message_that_is_answered_with_a_code_that_asks_for_more_is_451(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    peer = live_server(answering("serve_mail_tx", 354, is_async=is_async)).connect()
    peer.open()
    peer.message(b"one\r\n", "451 4.3.0")
    assert "answered 354 to a message: give None or 2yz to accept" in caplog.text
    peer.command("NOOP", "250 2.0.0")


@pytest.mark.parametrize("code", [250, 354])
def test_h100_a_banner_that_is_no_banner_lets_nobody_in(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    peer = live_server(answering("check_connect", code, is_async=False)).connect()
    peer.expect("451 4.3.0")
    peer.expect_close()
    assert "give None or 220 to accept" in caplog.text


@pytest.mark.parametrize("code", [250, 334])
def test_h100_a_login_that_is_half_a_yes_is_a_temporary_failure(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    peer = live_server(answering("serve_auth", code, is_async=False), service="submissions").connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("AUTH PLAIN AGEAYg==", "454 4.7.0")
    assert f"answered {code} to a login: give None or 235 to accept" in caplog.text
    peer.command("MAIL FROM:<joe@example.org>", "530 5.7.0")


@pytest.mark.parametrize("code", [250, 354])
def test_data_that_is_accepted_in_either_way_is_asked_for(live_server: LiveServers, code: int) -> None:
    live = live_server(answering("check_data", code, is_async=False))
    peer = live.connect()
    peer.open()
    peer.message(b"one\r\n")
    assert len(live.recorder.messages) == 1


# Row 101: an async handler hangs.


def test_h101_a_hook_that_hangs_is_cancelled_and_the_session_goes_on(live_server: LiveServers) -> None:
    handler = Hanging("rcpt")
    peer = live_server(handler, limits={"hook_timeout": 0.1}).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    peer.command("RCPT TO:<ann@example.org>", "451 4.3.0")
    assert handler.cancelled.wait(20)
    handler.where = ""
    peer.command("RCPT TO:<ann@example.org>", "250 2.1.5")


class Stubborn(Recorder):
    """Swallows its cancellation, and hangs on."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = threading.Event()

    async def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> None:  # type: ignore[override]
        if self.cancelled.is_set():
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            await asyncio.Event().wait()


def test_h101_a_hook_that_swallows_its_cancellation_is_not_waited_for(live_server: LiveServers) -> None:
    handler = Stubborn()
    peer = live_server(handler, limits={"hook_timeout": 0.1}).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    peer.command("RCPT TO:<ann@example.org>", "451 4.3.0")
    assert handler.cancelled.wait(20)
    peer.command("RCPT TO:<ann@example.org>", "250 2.1.5")
    peer.message(b"one\r\n")


def test_h101_a_message_handler_that_hangs_is_cancelled_and_the_session_goes_on(
    live_server: LiveServers,
) -> None:
    handler = Hanging("message")
    peer = live_server(handler, limits={"message_timeout": 0.1}).connect()
    peer.open()
    peer.message(b"one\r\n", "451 4.3.0")
    assert handler.cancelled.wait(20)
    peer.command("NOOP", "250 2.0.0")


def test_h101_a_handler_that_hangs_holds_up_nobody_else(live_server: LiveServers) -> None:
    handler = Hanging("message")
    live = live_server(handler)
    peer = live.connect()
    peer.open()
    peer.command("DATA", "354")
    peer.send(b"one\r\n.\r\n")
    assert handler.entered.wait(20)
    handler.where = ""
    other = live.connect()
    other.open()
    other.message(b"two\r\n")
    live.server.stop(grace=0)  # which would wait for the one that hangs


def test_h101_what_is_pipelined_behind_an_answer_that_takes_long_waits_for_it(
    live_server: LiveServers,
) -> None:
    handler = Hanging("rcpt")
    peer = live_server(handler, limits={"hook_timeout": 0.1}).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.send(b"MAIL FROM:<joe@example.org>\r\nRCPT TO:<ann@example.org>\r\nRSET\r\nQUIT\r\n")
    for pattern in ("250 2.1.0", "451 4.3.0", "250 2.0.0", "221 2.0.0"):
        peer.expect(pattern)
    peer.expect_close()
