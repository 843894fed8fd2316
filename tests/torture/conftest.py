"""What the short tortures share."""

from __future__ import annotations

import pytest

from tests.torture.subject import SUBJECTS, MakeSubject


@pytest.fixture(params=[*SUBJECTS])
def make(request: pytest.FixtureRequest) -> MakeSubject:
    """Make a subject, of each kind there is: ``make(folder)``."""
    return SUBJECTS[request.param]
