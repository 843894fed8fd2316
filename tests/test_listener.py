"""Listeners: what they are, and the sockets they become."""

from __future__ import annotations

import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx.listener import Listener, bind, service_of

if TYPE_CHECKING:
    from pathlib import Path


def test_service_that_is_none_of_the_three_is_an_error_that_names_them() -> None:
    service: Any = "smtps"
    with pytest.raises(smtpx.ConfigurationError, match="write one of smtp, submission, submissions"):
        Listener(service)


def test_a_listener_has_a_path_or_a_port_not_both() -> None:
    with pytest.raises(smtpx.ConfigurationError, match="not both"):
        Listener("smtp", port=25, path="/run/smtp")


@pytest.mark.parametrize(
    ("service", "newlines"), [("smtp", "reject"), ("submission", "normalize"), ("submissions", "normalize")]
)
def test_bare_newlines_are_the_services_own_unless_told(service: Any, newlines: str) -> None:
    assert Listener(service).newlines == newlines
    assert Listener(service, bare_newline="reject").newlines == "reject"


def test_all_addresses_of_a_host_get_the_port_that_the_first_one_got() -> None:
    socks = bind(Listener("smtp", "", 0))
    try:
        assert len({sock.getsockname()[1] for sock in socks}) == 1
    finally:
        for sock in socks:
            sock.close()


def test_an_error_of_binding_keeps_its_number_and_names_the_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}") as raised:
            bind(Listener("smtp", "127.0.0.1", port))
    assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in asyncio on Windows")
def test_a_file_in_the_place_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    with pytest.raises(OSError, match="cannot listen on"):
        bind(Listener("smtp", path=path))
    assert path.read_text() == "mine"


def test_the_service_of_a_socket_that_was_handed_in_is_told_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert service_of(sock) == "smtp"
