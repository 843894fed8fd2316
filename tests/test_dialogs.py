"""The transcripts of tests/dialogs: the engine whole, octet by octet, and cut anywhere; a live server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import smtpx

from tests.dialog import Dialog, EngineWire, LiveWire, at_once, by_octets, load, run
from tests.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import LiveServers

DIALOGS = load()
# Rows 1-13: what can be an end of the content, or seem to be one.
FRAMING = [dialog for dialog in DIALOGS if dialog.name[:3] <= "h13" and "bytes" in dialog.modes]

LIMITS = {
    "max_message_size": "message_size",
    "max_recipients": "recipients",
    "max_command_line": "command_line",
    "max_auth_line": "auth_line",
    "max_errors": "errors",
    "max_idle_commands": "idle_commands",
    "max_refused_recipients": "refused_recipients",
    "max_auth_failures": "auth_failures",
}


def of_mode(mode: str) -> list[object]:
    return [pytest.param(dialog, id=dialog.name) for dialog in DIALOGS if mode in dialog.modes]


@pytest.mark.parametrize("dialog", of_mode("whole"))
def test_engine(dialog: Dialog) -> None:
    run(dialog, EngineWire(dialog, at_once))


@pytest.mark.parametrize("dialog", of_mode("bytes"))
def test_engine_octet_by_octet(dialog: Dialog) -> None:
    run(dialog, EngineWire(dialog, by_octets))


@pytest.mark.parametrize("dialog", [pytest.param(dialog, id=dialog.name) for dialog in FRAMING])
def test_h14_every_split_into_two_reads(dialog: Dialog) -> None:
    longest = max(len(step.text) for step in dialog.steps)
    for at in range(1, longest):

        def cut(data: bytes, at: int = at) -> tuple[bytes, bytes]:
            return data[:at], data[at:]

        run(dialog, EngineWire(dialog, cut))


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("dialog", of_mode("live"))
def test_live(dialog: Dialog, live_server: LiveServers, tmp_path: Path) -> None:
    run(dialog, live_wire(dialog, live_server, tmp_path))


@pytest.mark.parametrize("dialog", [pytest.param(d, id=d.name) for d in FRAMING if "live" in d.modes])
def test_h14_split_live(dialog: Dialog, live_server: LiveServers, tmp_path: Path) -> None:
    """In the middle of what is, or seems to be, an end; the server has the first read before the second."""
    run(dialog, live_wire(dialog, live_server, tmp_path, split=True))


def live_wire(dialog: Dialog, live_server: LiveServers, folder: Path, *, split: bool = False) -> LiveWire:
    config = dict(dialog.config)
    dsn = bool(config.pop("dsn", False))
    tls = bool(config.pop("starttls", True))
    limits = {LIMITS[name]: config.pop(name) for name in list(config) if name in LIMITS}
    handler: smtpx.Handler = Recorder(dialog.policy, dsn=dsn)
    if dialog.handler == "local":
        handler = smtpx.LocalHandler(live_server.environment, smtpx.LocalStorage(folder))
    live = live_server(handler, service=dialog.service, tls=tls, limits=limits, listener=config)
    return LiveWire(live, split=split)
