"""How a command ends that cannot do what it was asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from smtpx.errors import SMTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["told"]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End with status 1 and the words of an error, a line a fault, without a traceback."""
    try:
        yield
    except SMTPError as error:
        console = Console(stderr=True)
        words = error.strerror if isinstance(error, OSError) else None  # without "[Errno 1]" in front
        for line in (words or str(error)).splitlines():
            console.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)
        raise typer.Exit(1) from None
