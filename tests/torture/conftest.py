"""What the short tortures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.subjects import SUBJECTS

if TYPE_CHECKING:
    from tests.torture.subject import MakeSubject


@pytest.fixture(params=[*SUBJECTS])
def make(request: pytest.FixtureRequest) -> MakeSubject:
    """Make a subject, of each kind there is: ``make(folder)``."""
    return SUBJECTS[request.param]
