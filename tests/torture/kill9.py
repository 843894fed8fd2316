"""HOSTILE rows 88, 89 and 97: kill -9 at random moments under load: what was answered 250 is kept, whole.

``python -m tests.torture.kill9`` from the top of the repository; the ordinary suite does fewer. With
``--servers 2`` two of ``smtpx serve`` share the queue, and are killed in turn.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.torture.command import command, tell
from tests.torture.pair import strike_in_turn
from tests.torture.served_subject import ServedSubject
from tests.torture.strikes import strike
from tests.torture.subjects import SUBJECTS

__all__: list[str] = []


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--servers", type=int, default=1)
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    amount = {"times": options.kills, "messages": options.messages, "seed": options.seed}
    with tempfile.TemporaryDirectory() as folder, SUBJECTS[options.subject](Path(folder)) as subject:
        if options.servers == 1:
            record = asyncio.run(strike(subject, subject.kill, **amount, tell=tell))
        elif isinstance(subject, ServedSubject):
            record = asyncio.run(strike_in_turn(subject, options.servers, **amount, tell=tell))
        else:
            parser.error("only servers of the subject serve can share their mail")
    tell(f"{options.kills} kills: {record}")
    if not record.sound or record.set_aside:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
