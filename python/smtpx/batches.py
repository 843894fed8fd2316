"""One thread that does what blocks, in batches: what waits at the same time shares one commit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from smtpx.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Batches", "Job"]

_PATIENCE = 0.01  # seconds

_T = TypeVar("_T")
_R = TypeVar("_R")


class Job(Generic[_T]):
    """Something to be done in the thread, and who waits for it."""

    __slots__ = ("error", "future", "loop", "octets", "result", "work")

    def __init__(self, work: Callable[[_T], Any], octets: int) -> None:
        self.work = work
        self.octets = octets
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def succeed(self, result: Any) -> None:
        """Give the caller what it asked for, once the batch is over."""
        self.result, self.error = result, None

    def fail(self, error: BaseException) -> None:
        """Let the caller's await raise, once the batch is over."""
        self.error = error


class Batches(Generic[_T]):
    """A thread, and the jobs that wait for it.

    A batch is what waits when the one before is done: a job that comes alone waits for nothing but the round
    of the event loop that submits it. A job that is cancelled while it waits is not begun; what has begun is
    finished. Several event loops may use it.

    Attributes:
        limit: the most jobs in a batch; may be changed at any time.

    Args:
        name: what it works for, as an error names it.
        do: does the jobs of a batch, in the thread, and tells each how it ended; it must not raise.
        end: the thread's last act.
        rest: something small to do while no job waits; True when there is more of it.
        limit: as above.
        octets: jobs of so many octets together are enough for a batch.
        pace: seconds from the beginning of a batch to the next at least, where a small batch costs as much.

    """

    def __init__(
        self,
        name: str,
        do: Callable[[Sequence[Job[_T]]], None],
        end: Callable[[], None] = lambda: None,
        *,
        rest: Callable[[], bool] = lambda: False,
        limit: int = 64,
        octets: int = 16 * 1024 * 1024,
        pace: float = 0.0,
    ) -> None:
        self._name = name
        self._do = do
        self._end = end
        self._rest = rest
        self.limit = limit
        self._octets = octets
        self._pace = pace
        self._begun = 0.0
        self.closed = False
        self._thread: threading.Thread | None = None
        self._jobs: _Jobs[_T] = queue.SimpleQueue()
        self._guard = threading.Lock()  # no job may follow the None that ends the thread
        # Each list has a timer of each loop in it: one that ends before its own goes off must not leave the
        # jobs of the others waiting.
        self._prompt: list[Job[_T]] = []
        self._patient: list[Job[_T]] = []

    async def submit(self, work: Callable[[_T], _R], octets: int = 0) -> _R:
        """Have it done and return its result, or raise its exception.

        Raises:
            StorageError: closed.

        """
        job: Job[_T] = Job(work, octets)
        if self._collect(job, self._prompt):
            # The thread is woken once a round: else it begins with the first, and it and the loop that has
            # more for it take the interpreter's lock from each other.
            job.loop.call_soon(self._put, self._prompt)
        return await job.future  # type: ignore[no-any-return]

    async def submit_patiently(self, work: Callable[[_T], _R], octets: int = 0) -> _R:
        """As `submit`, after some milliseconds, together with all that was submitted so until then."""
        job: Job[_T] = Job(work, octets)
        if self._collect(job, self._patient):
            job.loop.call_later(_PATIENCE, self._put, self._patient)
        return await job.future  # type: ignore[no-any-return]

    def soon(self, work: Callable[[_T], object]) -> None:
        """Have it done behind all that was submitted: nobody waits for it. Nothing where it is closed."""
        job: Job[_T] = Job(work, 0)
        job.future.add_done_callback(_look)
        with contextlib.suppress(StorageError), self._guard:
            self._check_open()
            self._hand_on(self._prompt)
            self._hand_on(self._patient)
            self._hand_on([job])

    def _collect(self, job: Job[_T], jobs: list[Job[_T]]) -> bool:
        """Add it to the jobs that will be put; tell whether it is the first of its loop."""
        with self._guard:
            self._check_open()
            is_first = all(other.loop is not job.loop for other in jobs)
            jobs.append(job)
        return is_first

    def _put(self, jobs: list[Job[_T]]) -> None:
        with self._guard:
            self._hand_on(jobs)

    def _check_open(self) -> None:
        if self.closed:
            raise StorageError(f"{self._name} is closed: open it again")

    def _hand_on(self, jobs: list[Job[_T]]) -> None:
        if jobs and self._thread is None:
            self._jobs = queue.SimpleQueue()
            # A daemon: a program that forgets close() still ends; what it did not await was not promised.
            thread = threading.Thread(target=self._run, args=(self._jobs,), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # Who waits must hear of it, and the next job tries again.
                self._refuse(jobs, StorageError(errno.EAGAIN, f"{self._name} cannot begin: {error}"))
                return
            self._thread = thread
        for job in jobs:
            self._jobs.put(job)
        jobs.clear()

    def _refuse(self, jobs: list[Job[_T]], error: StorageError) -> None:
        for job in jobs:
            job.fail(error)
        _deliver(jobs)
        jobs.clear()

    async def close(self) -> None:
        """Finish what was begun and end the thread; to close twice is nothing."""
        with self._guard:
            self._hand_on(self._prompt)
            self._hand_on(self._patient)
            self.closed = True
            self._jobs.put(None)
            thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _run(self, jobs: _Jobs[_T]) -> None:
        while self._do_batch(jobs):
            if self._pace:
                time.sleep(max(0.0, self._begun + self._pace - time.monotonic()))
            while jobs.empty() and self._rest():
                pass
        self._end()

    def _do_batch(self, jobs: _Jobs[_T]) -> bool:
        """Do what waits, waiting for the first; False when told to end."""
        # A function of its own: while the thread waits, nothing may hold on to the last batch's messages.
        first = jobs.get()
        if first is None:
            return False
        batch, octets, more = [first], first.octets, True
        while more and len(batch) < self.limit and octets < self._octets and not jobs.empty():
            job = jobs.get()
            if job is None:
                more = False
            else:
                batch.append(job)
                octets += job.octets
        begun = [job for job in batch if not job.future.cancelled()]
        if begun:
            self._begun = time.monotonic()
            self._do(begun)
            _deliver(begun)
        return more


_Jobs: TypeAlias = "queue.SimpleQueue[Job[_T] | None]"


def _deliver(jobs: Sequence[Job[Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, its_jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            # Once for all of them: it writes to a pipe.
            loop.call_soon_threadsafe(_finish, its_jobs)


def _finish(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _look(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
