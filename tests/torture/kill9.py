"""HOSTILE rows 88 and 89: kill -9 at random moments under load: what was answered 250 is kept, whole.

``python -m tests.torture.kill9`` from the top of the repository; the ordinary suite does fewer.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.torture.command import command, tell
from tests.torture.strikes import strike
from tests.torture.subjects import SUBJECTS

__all__: list[str] = []


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder, SUBJECTS[options.subject](Path(folder)) as subject:
        record = asyncio.run(
            strike(
                subject,
                subject.kill,
                times=options.kills,
                messages=options.messages,
                seed=options.seed,
                tell=tell,
            )
        )
    tell(f"{options.kills} kills: {record}")
    if not record.sound or record.set_aside:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
