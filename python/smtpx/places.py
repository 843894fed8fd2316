"""Whether files and folders are there that a configuration names."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from smtpx.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.toml import Document, Where

__all__ = ["NO_FOLDER", "check_place", "is_there"]

NO_FOLDER = "make it (mkdir -m 700), or correct it"
"""What to do where a folder is missing."""


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Tell whether there is such a file, or folder; `Path.is_file` raises or not, by the Python.

    Raises:
        ConfigurationError: this user may not even look, as into another user's folder of mode 0700.

    """
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}: let this user into the folders that it is in (chown, chmod),"
            " or run as the user whose they are"
        ) from error
    except (OSError, ValueError):  # ValueError: a NUL
        return False
    return stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)


def check_place(document: Document, where: Where, path: Path, mend: str, *, folder: bool = False) -> bool:
    """Tell whether it is there, and note a fault where it is not."""
    try:
        if is_there(path, folder=folder):
            return True
        told = f"there is no {'folder' if folder else 'file'} {path}: {mend}"
    except ConfigurationError as error:
        told = str(error)
    document.fault(where, f"'{where[-1]}': {told}")
    return False
