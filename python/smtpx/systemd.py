"""What a service manager says and is told: sd_listen_fds(3) and sd_notify(3), which are a few lines each."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import get_args

from smtpx.errors import ConfigurationError
from smtpx.listener import Service

__all__ = ["listening_sockets", "notify", "notify_reloading"]

_logger = logging.getLogger("smtpx.systemd")

_FIRST = 3  # SD_LISTEN_FDS_START
_SERVICES: tuple[Service, ...] = get_args(Service)


def listening_sockets() -> list[tuple[Service, socket.socket]]:
    """Return the sockets that we were started with, each with its service, and forget how we know.

    Raises:
        ConfigurationError: a socket has no service's name.

    """
    ours = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "0")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if not ours or not count.isdecimal():  # meant for the process that started us
        return []
    sockets: list[tuple[Service, socket.socket]] = []
    for index in range(int(count)):
        name = names[index] if index < len(names) else ""
        service = next((one for one in _SERVICES if one == name), None)
        if service is None:
            raise ConfigurationError(
                f"socket {index + 1} of {count} is named {name!r}, which is no service: write"
                f" FileDescriptorName={' or '.join(_SERVICES)} in its systemd .socket unit"
            )
        os.set_inheritable(_FIRST + index, False)
        sockets.append((service, socket.socket(fileno=_FIRST + index)))
    return sockets


def notify(state: str) -> None:
    """Tell the service manager, where there is one: ``READY=1``, ``STOPPING=1``."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    if path.startswith("@"):  # Linux's abstract namespace
        path = "\0" + path[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.connect(path)
            notifying.sendall(state.encode())
    except OSError as error:
        _logger.warning("the service manager was not told %s: %s", state.split("\n")[0], error)


def notify_reloading() -> None:
    """Tell it that a reload begins; ``notify("READY=1")`` tells that it has ended."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
