"""The command line on asyncio's own loop, whether uvloop is installed or not: see `MakeSubject`."""

from __future__ import annotations

import sys

from smtpx.__main__ import main

if __name__ == "__main__":
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # makes its import fail
    main()
