"""What the torture commands can be run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture.spool_subject import ServedSubject, SpoolSubject

if TYPE_CHECKING:
    from tests.torture.subject import MakeSubject

__all__ = ["SUBJECTS"]

SUBJECTS: dict[str, MakeSubject] = {"spool": SpoolSubject, "serve": ServedSubject}
"""By name; the first one is the default."""
