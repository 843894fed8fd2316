"""Batches: what is done together in their thread, and when."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from smtpx.batches import Batches
from smtpx.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.batches import Job


class Sizes:
    """Does jobs that are functions of nothing, and notes how many each batch had."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def do(self, jobs: Sequence[Job[None]]) -> None:
        self.seen.append(len(jobs))
        for job in jobs:
            job.succeed(job.work(None))


async def test_what_one_round_of_the_loop_submits_is_one_batch() -> None:
    sizes = Sizes()
    batches: Batches[None] = Batches("the test", sizes.do)
    results = await asyncio.gather(*(batches.submit(lambda _: "done") for _ in range(50)))
    assert results == ["done"] * 50
    assert sizes.seen == [50]
    await batches.close()


async def test_what_is_submitted_before_a_close_is_done() -> None:
    sizes = Sizes()
    batches: Batches[None] = Batches("the test", sizes.do)
    waiting = [
        asyncio.create_task(batches.submit(lambda _: "prompt")),
        asyncio.create_task(batches.submit_patiently(lambda _: "patient")),
    ]
    await asyncio.sleep(0)
    await batches.close()
    assert await asyncio.gather(*waiting) == ["prompt", "patient"]


async def test_a_loop_that_ends_leaves_the_jobs_of_another_to_their_own_round() -> None:
    batches: Batches[None] = Batches("the test", Sizes().do)

    async def submit() -> None:
        submitting = batches.submit(lambda _: None)
        submitting.send(None)
        submitting.close()

    def end_a_loop_without_another_round() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(submit())
        loop.close()

    await asyncio.to_thread(end_a_loop_without_another_round)
    assert await asyncio.wait_for(batches.submit(lambda _: "done"), 10) == "done"
    await batches.close()


async def test_a_paced_batch_waits_for_what_comes_soon_after_the_one_before() -> None:
    sizes = Sizes()
    batches: Batches[None] = Batches("the test", sizes.do, pace=0.5)
    await batches.submit(lambda _: None)
    waiting = []
    for _ in range(5):
        waiting.append(asyncio.create_task(batches.submit(lambda _: None)))
        await asyncio.sleep(0.001)
    await asyncio.gather(*waiting)
    assert sizes.seen == [1, 5]
    await batches.close()


async def test_without_a_thread_a_job_fails_and_the_next_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    batches: Batches[None] = Batches("the test", Sizes().do)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for submit in (batches.submit, batches.submit_patiently):
            with pytest.raises(StorageError, match="the test cannot begin: can't start new thread"):
                await asyncio.wait_for(submit(lambda _: None), 10)
    assert await asyncio.wait_for(batches.submit(lambda _: "done"), 10) == "done"
    await batches.close()
