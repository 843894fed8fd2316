"""A task that begins at once: what never waits is done before we look, without a trip through the loop.

It is a Task all the same, without which asyncio.timeout and TaskGroup do not work inside it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["begun"]

_T = TypeVar("_T")

if sys.version_info >= (3, 12):

    def begun(coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[_T]:
        """Return a task for the coroutine, on the loop that runs here; from Python 3.12 on it has begun."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
else:

    def begun(coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[_T]:
        """Return a task for the coroutine, on the loop that runs here; from Python 3.12 on it has begun."""
        return loop.create_task(coroutine)
