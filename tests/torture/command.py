"""What the torture commands have in common: their options, how they end, and that they clean up."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.torture.subjects import SUBJECTS

__all__ = ["command", "tell"]


def command(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all; SIGTERM ends the command as Ctrl-C does, mounts undone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--subject", choices=SUBJECTS, default=next(iter(SUBJECTS)))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    return parser


def tell(line: str) -> None:
    """Print a line at once: a long run is watched."""
    print(line, flush=True)
