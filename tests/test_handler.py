"""Handler: what the base class answers, and that its methods may be written ``def`` or ``async def``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from smtpx._core import Response
from smtpx.handler import UNVERIFIED, Handler
from smtpx.mail import MailTx
from smtpx.session import Session

if TYPE_CHECKING:
    from smtpx.handler import Answer

SESSION = Session("s1", ("192.0.2.1", 1234), "smtp")
ASKED: dict[str, tuple[object, ...]] = {
    "check_connect": (SESSION,),
    "check_helo": (SESSION, "client.example"),
    "check_mail": (SESSION, "a@b.org", {}),
    "check_rcpt": (SESSION, "anybody@anywhere.example", {}),
    "check_data": (SESSION,),
    "serve_mail_tx": (MailTx("a@b.org", ["anybody@anywhere.example"], b"x"),),
    "serve_bounce": (MailTx("a@b.org", ["anybody@anywhere.example"], b"x"), {}),
}


@pytest.mark.parametrize("hook", ASKED)
def test_the_base_class_is_a_sink_that_accepts_everything(hook: str) -> None:
    assert getattr(Handler(), hook)(*ASKED[hook]) is None


def test_the_base_class_lets_nobody_in() -> None:
    answer = Handler().serve_auth(SESSION, "joe", "secret")
    assert isinstance(answer, Response)
    assert answer.code == 535


def test_h34_the_base_class_verifies_and_expands_nothing() -> None:
    assert Handler().serve_verify(SESSION, "joe") == UNVERIFIED
    assert Handler().serve_expand(SESSION, "staff") == UNVERIFIED


async def test_a_hook_is_written_def_or_async_def() -> None:
    class Both(Handler):
        def check_helo(self, session: Session, name: str) -> Response | None:
            return Response(550, "5.7.1 no")

        async def check_rcpt(
            self, session: Session, recipient: str, params: dict[str, str]
        ) -> Response | None:
            return Response(550, "5.1.1 no")

    def asked(handler: Handler) -> list[Answer]:
        return [handler.check_helo(SESSION, "x"), handler.check_rcpt(SESSION, "x@example.org", {})]

    at_once, later = asked(Both())
    assert at_once == Response(550, "5.7.1 no")
    assert inspect.isawaitable(later)
    assert await later == Response(550, "5.1.1 no")


def test_what_is_not_overridden_can_be_seen() -> None:
    class Login(Handler):
        async def serve_auth(self, session: Session, username: str, password: str) -> Response | None:
            return None

    assert Login.serve_auth is not Handler.serve_auth
    assert Login.serve_verify is Handler.serve_verify


def test_a_session_says_who_it_is() -> None:
    session = Session("s1", "/run/smtp.sock", "submissions")
    session.helo, session.user, session.tls = "client.example", "joe", True
    assert all(
        word in repr(session) for word in ("s1", "submissions", "/run/smtp.sock", "client.example", "joe")
    )
