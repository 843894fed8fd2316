"""A handler's answer that takes time: begun at once, waited for, but not for ever."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, TypeAlias, cast

from smtpx.answers import checked
from smtpx.desk import FAILED, Reply
from smtpx.eager import begun

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.session import Session

__all__ = ["Waiting", "begin", "log_failure"]

log = logging.getLogger("smtpx.handler")

_Answer: TypeAlias = asyncio.Future[Reply]


def begin(answer: object, loop: asyncio.AbstractEventLoop) -> _Answer:
    """Begin an answer that was not given at once; done already where it never waits (Python 3.12)."""
    return begun(answer if asyncio.iscoroutine(answer) else _awaited(answer), loop)


async def _awaited(answer: object) -> Reply:
    if inspect.isawaitable(answer):
        return cast("Reply", await answer)
    return checked(answer)


class Waiting:
    """The wait for an answer; ``settle`` is called with it, or with 451 where it fails, once."""

    __slots__ = ("_answer", "_deadline", "_session", "_settle", "_what")

    def __init__(
        self,
        answer: _Answer,
        settle: Callable[[Reply], None],
        *,
        timeout: float,
        what: str,
        session: Session,
    ) -> None:
        self._answer = answer
        self._settle = settle
        self._what = what
        self._session = session
        self._deadline = answer.get_loop().call_later(timeout, self._overdue)
        answer.add_done_callback(self._answered)

    def give_up(self) -> None:
        """Cancel the answer, and wait no more, even for one that will not be cancelled."""
        self._deadline.cancel()
        self._answer.remove_done_callback(self._answered)
        self._answer.add_done_callback(_forget)
        self._answer.cancel()

    def _overdue(self) -> None:
        """Go on without a handler that hangs (HOSTILE 101)."""
        log.error(
            "%s took longer than Limits allows: let it wait for less, or allow more",
            self._what,
            extra={"session": self._session.id},
        )
        self.give_up()
        self._settle(FAILED)

    def _answered(self, answer: _Answer) -> None:
        self._deadline.cancel()
        reply: Reply = FAILED
        if answer.cancelled():
            log.error("handler was cancelled", extra={"session": self._session.id})
        elif error := answer.exception():
            log_failure(self._session, error)
        else:
            reply = answer.result()
        self._settle(reply)


def log_failure(session: Session, error: BaseException) -> None:
    """Write into the log what a handler raised: the peer never sees it."""
    log.error("handler raised", exc_info=error, extra={"session": session.id})


def _forget(answer: _Answer) -> None:
    if not answer.cancelled() and (error := answer.exception()):
        log.error("handler raised when nobody waited for its answer any more", exc_info=error)
