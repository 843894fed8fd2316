"""``smtpx`` and ``python -m smtpx``: the command line, or how to get it."""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["main"]

_EXTRA = ("typer", "rich", "cryptography")


def main() -> None:
    """Run the command line; say how to get it where its packages are missing."""
    try:
        from smtpx.cli import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.exit(f"smtpx: the command line needs {missing}: pip install 'smtpx[cli]'")
    try:
        app(prog_name="smtpx")
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        # Of the output, as commands catch what their files raise; what is left of it would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"smtpx: the output could not be written: {error.strerror}")


if __name__ == "__main__":
    main()
