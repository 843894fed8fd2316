"""``smtpx`` and ``python -m smtpx``: the command line, or how to get it."""

from __future__ import annotations

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
    app(prog_name="smtpx")


if __name__ == "__main__":
    main()
