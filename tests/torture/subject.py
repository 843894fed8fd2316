"""What is tortured: a server that can be started and killed again and again, and whose mail can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.torture.record import Harvest

__all__ = ["MakeSubject", "Subject"]


class Subject(Protocol):
    """A server under torture; all that it keeps is in one folder."""

    @property
    def pid(self) -> int:
        """The process that writes to the disk."""
        ...

    def start(self) -> tuple[str, int]:
        """Start it on what it has kept, and return the address where it takes mail."""
        ...

    def kill(self) -> None:
        """SIGKILL; back when it is dead, with every file closed."""
        ...

    async def harvest(self) -> Harvest:
        """Read, while it does not run, what it has kept.

        What is read as delivered may be taken away, for the disk's sake; then it must never come back.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class MakeSubject(Protocol):
    """Makes a subject that keeps its mail in a folder, which exists and is empty."""

    def __call__(
        self, folder: Path, *, reserve: int = 1, prefix: Sequence[str] = (), uvloop: bool = True
    ) -> Subject:
        """Return it.

        Args:
            folder: all that it keeps is below it.
            reserve: octets of the disk that it must leave free.
            prefix: a command to run it under, as strace.
            uvloop: whether it may run on uvloop, which makes a process abort when a write to the pipe that
                wakes it fails: no fault of a disk.

        """
        ...
