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

    from smtpx.limits import Limits
    from smtpx.session import Session

__all__ = ["Deadline", "Patience", "Waiting", "begin", "log_failure"]

log = logging.getLogger("smtpx.handler")

_TICK = 0.001  # seconds; uvloop's timers know no less

_Answer: TypeAlias = asyncio.Future[Reply]


def begin(answer: object, loop: asyncio.AbstractEventLoop) -> _Answer:
    """Begin an answer that was not given at once; done already where it never waits (Python 3.12)."""
    return begun(answer if asyncio.iscoroutine(answer) else _awaited(answer), loop)


async def _awaited(answer: object) -> Reply:
    if inspect.isawaitable(answer):
        return cast("Reply", await answer)
    return checked(answer)


class Patience:
    """How long the handlers of a server are waited for, by what they are asked."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.hook = Deadline("a hook", limits.hook_timeout, loop)
        self.message = Deadline("serve_mail_tx", limits.message_timeout, loop)


class Deadline:
    """A time within which answers are to come: one timer for all of them, as hardly ever one is late.

    Attributes:
        what: what is to answer, as the log names it.

    """

    def __init__(self, what: str, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.what = what
        self._seconds = seconds
        self._loop = loop
        self._due: dict[Waiting, float] = {}  # what is due first is first
        self._is_timed = False

    def begin(self, waiting: Waiting) -> None:
        """Have it told when it is overdue, unless it ends before."""
        due = self._due[waiting] = self._loop.time() + self._seconds
        if not self._is_timed:
            self._is_timed = True
            self._loop.call_at(due, self._look)

    def end(self, waiting: Waiting) -> None:
        """Forget it."""
        self._due.pop(waiting, None)

    def _look(self) -> None:
        soon = self._loop.time() + _TICK
        try:
            while self._due:
                waiting, due = next(iter(self._due.items()))
                if due > soon:
                    break
                del self._due[waiting]
                waiting.overdue()
        finally:  # whatever becomes of one, the others are not forgotten
            self._is_timed = bool(self._due)
            if self._is_timed:
                self._loop.call_at(next(iter(self._due.values())), self._look)


class Waiting:
    """The wait for an answer; ``settle`` is called with it, or with 451 where it fails or is late, once."""

    __slots__ = ("_answer", "_deadline", "_session", "_settle")

    def __init__(
        self, answer: _Answer, settle: Callable[[Reply], None], deadline: Deadline, session: Session
    ) -> None:
        self._answer = answer
        self._settle = settle
        self._deadline = deadline
        self._session = session
        deadline.begin(self)
        answer.add_done_callback(self._answered)

    def give_up(self) -> None:
        """Cancel the answer, and wait no more, even for one that will not be cancelled."""
        self._deadline.end(self)
        self._answer.remove_done_callback(self._answered)
        self._answer.add_done_callback(_forget)
        self._answer.cancel()

    def overdue(self) -> None:
        """Go on without a handler that hangs (HOSTILE 101)."""
        if self._answer.done():
            return  # in this very turn of the loop: we hear of it in the next
        log.error(
            "%s took longer than Limits allows: let it wait for less, or allow more",
            self._deadline.what,
            extra={"session": self._session.id},
        )
        self.give_up()
        self._settle(FAILED)

    def _answered(self, answer: _Answer) -> None:
        self._deadline.end(self)
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
