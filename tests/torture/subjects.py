"""What the torture commands can be run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture.served_subject import ServedSubject
from tests.torture.spool_subject import SpoolSubject

if TYPE_CHECKING:
    from tests.torture.subject import MakeSubject

__all__ = ["SUBJECTS"]

SUBJECTS: dict[str, MakeSubject] = {"serve": ServedSubject, "spool": SpoolSubject}
"""By name; the first one is the default."""
