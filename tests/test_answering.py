"""How long a handler's answer is waited for: one timer for all, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from smtpx import Limits, Response
from smtpx.answering import Deadline, Patience, Waiting
from smtpx.desk import FAILED
from smtpx.session import Session

from tests.queueing import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.desk import Reply

OK = Response(250, "2.0.0 OK")
SESSION = Session("s1", ("192.0.2.1", 1234), "smtp")


class Times:
    """The part of a loop that knows the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.timers.append((when, callback))

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback in due:
            callback()


class Answers:
    """Handlers that are waited for, 60 seconds each, and what came of them."""

    def __init__(self) -> None:
        self.times = Times()
        self.deadline = Deadline("a hook", 60, cast("Any", self.times))
        self.futures: dict[str, asyncio.Future[Reply]] = {}
        self.waits: dict[str, Waiting] = {}
        self.settled: list[tuple[str, Reply]] = []

    def wait(self, name: str, settle: Callable[[Reply], None] | None = None) -> None:
        """Wait for another one."""
        future = self.futures[name] = asyncio.get_running_loop().create_future()
        settle = settle or (lambda reply: self.settled.append((name, reply)))
        self.waits[name] = Waiting(future, settle, self.deadline, SESSION)


@pytest.fixture
async def answers() -> Answers:
    return Answers()


async def test_an_answer_in_time_is_heard_once(answers: Answers) -> None:
    answers.wait("a")
    answers.times.advance(59)
    answers.futures["a"].set_result(OK)
    await settled()
    answers.times.advance(60)
    assert answers.settled == [("a", OK)]


async def test_h101_who_is_late_is_cancelled_and_each_has_its_whole_time(answers: Answers) -> None:
    answers.wait("a")
    answers.times.advance(40)
    answers.wait("b")
    answers.times.advance(20)
    assert answers.settled == [("a", FAILED)]
    assert [future.cancelled() for future in answers.futures.values()] == [True, False]
    answers.times.advance(39)
    assert answers.settled == [("a", FAILED)]
    answers.times.advance(1)
    await settled()
    assert answers.settled == [("a", FAILED), ("b", FAILED)]


async def test_any_number_of_answers_has_one_timer_and_none_that_is_left(answers: Answers) -> None:
    for number in range(100):
        answers.wait(str(number))
        answers.times.advance(0.1)
    assert len(answers.times.timers) == 1
    for future in answers.futures.values():
        future.set_result(OK)
    await settled()
    answers.times.advance(60)
    assert answers.times.timers == []
    answers.wait("later")
    answers.times.advance(60)
    assert answers.settled[-1] == ("later", FAILED)


async def test_an_answer_of_the_very_turn_in_which_it_is_overdue_is_heard_once(answers: Answers) -> None:
    answers.wait("a")
    answers.futures["a"].set_result(OK)
    answers.times.advance(60)
    await settled()
    assert answers.settled == [("a", OK)]


async def test_who_is_given_up_is_neither_heard_nor_late(answers: Answers) -> None:
    answers.wait("a")
    answers.waits["a"].give_up()
    answers.times.advance(60)
    await settled()
    assert answers.settled == []
    assert answers.futures["a"].cancelled()


async def test_a_fault_in_what_follows_a_late_answer_is_not_the_end_of_the_others_time(
    answers: Answers,
) -> None:
    def fail(reply: Reply) -> None:
        raise RuntimeError(reply)

    answers.wait("a", fail)
    answers.wait("b")
    with pytest.raises(RuntimeError):
        answers.times.advance(60)
    answers.times.advance(0)
    assert answers.settled == [("b", FAILED)]


async def test_what_is_asked_next_once_an_answer_was_late_has_its_own_time(answers: Answers) -> None:
    answers.wait("a", lambda reply: answers.wait("b"))
    answers.times.advance(60)
    assert len(answers.times.timers) == 1
    answers.times.advance(59)
    assert answers.settled == []
    answers.times.advance(1)
    assert answers.settled == [("b", FAILED)]


async def test_a_message_has_another_time_than_a_hook() -> None:
    times = Times()
    patience = Patience(Limits(hook_timeout=1, message_timeout=2), cast("Any", times))
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    replies: list[Reply] = []
    Waiting(future, replies.append, patience.message, SESSION)
    times.advance(1)
    assert replies == []
    times.advance(1)
    assert replies == [FAILED]
