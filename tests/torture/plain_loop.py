"""`frequent` on asyncio's own loop, whether uvloop is installed or not: see `MakeSubject`."""

from __future__ import annotations

import sys

from tests.torture.frequent import main

if __name__ == "__main__":
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # makes its import fail
    main()
