"""A configuration file that a test writes: what it means, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx.config import Config, load
from smtpx.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["faults", "read"]


def read(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file, files=False)


def faults(file: Path, text: str, *, files: bool = False) -> list[str]:
    """The lines of the error, without the file's name, which each must have."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load(file, files=files)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]
