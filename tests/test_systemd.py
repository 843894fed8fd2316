"""What a service manager gives ``smtpx serve``, and is told."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.served import PATIENCE, Site, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform == "win32":
    pytest.skip("Windows has no systemd", allow_module_level=True)


# Sets LISTEN_PID to its own number, which a parent cannot know, and becomes the server.
EXECUTE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def handed_a_socket(site: Site, name: str) -> Iterator[int]:
    """Run the server with one socket, bound here; gives its port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        serve(
            site.config,
            env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": name},
            prefix=[sys.executable, "-c", EXECUTE, str(sock.fileno())],
            pass_fds=[sock.fileno()],
        ) as site.served,
    ):
        yield sock.getsockname()[1]


def test_a_socket_that_was_handed_in_is_served_by_its_name_and_no_other_is_bound(stopped: Site) -> None:
    with handed_a_socket(stopped, "submissions") as port:
        assert stopped.served.event("listening")["port"] == port
        stopped.submissions = port
        stopped.log_in()
        stopped.change("[log]", "[limits]\nmessage_size = 1000\n[log]")
        stopped.reload()
        stopped.log_in()
        assert stopped.served.stop() == 0
        events = [json.loads(line) for line in stopped.served.log.rest()]
    assert {event["port"] for event in events if event["event"] == "listening"} == {port}


def test_a_socket_of_no_services_name_is_told_with_the_mend(stopped: Site) -> None:
    with handed_a_socket(stopped, "smtpx.socket"):
        assert stopped.served.process.wait(PATIENCE) == 1
        assert "FileDescriptorName=smtp" in stopped.served.log.match("error: (.*)")[1]


def test_a_socket_that_needs_a_certificate_is_told_what_the_configuration_lacks(stopped: Site) -> None:
    stopped.config.write_text(
        'hostname = "example.org"\nspool = "spool"\naccounts = "accounts.toml"\n', "utf-8"
    )
    with handed_a_socket(stopped, "submissions"):
        assert stopped.served.process.wait(PATIENCE) == 1
        assert stopped.served.log.match("error: (.*)")[1].endswith("write [tls] certificate and key")


def test_sockets_that_are_for_another_process_are_left_alone(stopped: Site) -> None:
    with serve(stopped.config, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as stopped.served:
        stopped.smtp, stopped.submissions = stopped.ports()
        stopped.log_in()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told_ready_reloading_ready_stopping(
    stopped: Site, tmp_path: Path, abstract: bool
) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    name = f"@smtpx-test-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        with serve(stopped.config, env={"NOTIFY_SOCKET": name}) as stopped.served:
            assert manager.recv(100) == b"READY=1"
            stopped.reload()
            assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(100) == b"READY=1"
            assert stopped.served.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


# The unit of the README

README = Path(__file__).resolve().parent.parent / "README.md"
ANALYZE = "systemd-analyze"


@pytest.fixture
def unit(needs_tool: Callable[[str], str], tmp_path: Path) -> Path:
    """The README's unit, with a program that is here."""
    needs_tool(ANALYZE)
    found = re.search(r"^```ini\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    path = tmp_path / "smtpx.service"
    path.write_text(found[1].replace("/opt/smtpx/bin/smtpx", sys.executable), encoding="utf-8")
    return path


def test_systemd_finds_no_fault_with_the_unit(unit: Path) -> None:
    said = subprocess.run([ANALYZE, "verify", unit], capture_output=True, text=True, check=True)
    assert said.stdout + said.stderr == ""


def test_systemd_finds_the_unit_well_protected(unit: Path) -> None:
    # In tenths of its scale from 0, perfect, to 10, dangerous.
    command = [ANALYZE, "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)]
    subprocess.run(command, capture_output=True, text=True, check=True)
