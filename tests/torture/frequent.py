"""The command line, with a checkpoint for each MiB of SQLite's log: else hardly a blow fell into one."""

from __future__ import annotations

from smtpx.__main__ import main
from smtpx.storage import sqlite_file

__all__ = ["main"]

sqlite_file._LONG = 256  # pages

if __name__ == "__main__":
    main()
