"""The package as a whole: its version, its public names and numbers, and which module may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import smtpx

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "python" / "smtpx"


def run_python(program: str) -> str:
    """Run a program in a fresh interpreter, which has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


# The version and the files of the package


def test_the_version_is_the_one_of_cargo() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    assert smtpx.__version__ == cargo["workspace"]["package"]["version"]


@pytest.mark.parametrize("name", ["py.typed", "_core.pyi"])
def test_the_installed_package_is_typed(name: str) -> None:
    assert resources.files("smtpx").joinpath(name).is_file()


def test_no_workflow_repeats_what_the_package_depends_on() -> None:
    # Named there as well, a dependency that is added fails the wheels' jobs, and with them a release.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = {re.split("[<>=]", dependency)[0] for dependency in project["dependencies"]}
    for workflow in (ROOT / ".github" / "workflows").iterdir():
        assert dependencies.isdisjoint(re.findall(r"[\w-]+", workflow.read_text(encoding="utf-8")))


# The public names

GO_TYPES = [
    "Account",
    "Client",
    "Command",
    "CommandKind",
    "DKIMOptions",
    "Domain",
    "Environment",
    "Extension",
    "Handler",
    "InvalidCredential",
    "LocalHandler",
    "LocalStorage",
    "MailTx",
    "Mailbox",
    "Mechanism",
    "Response",
    "Server",
    "ServerInfo",
    "Status",
    "Storage",
]
ADDED_TYPES = [
    "ClientEngine",
    "Limits",
    "Listener",
    "Outcome",
    "Pool",
    "Queue",
    "QueueStorage",
    "SQLiteStorage",
    "Schedule",
    "ServerEngine",
    "SyncClient",
    "SyncServer",
]
ERRORS = ["AddressError", "CommandError", "ResponseError", "SMTPError"]
FUNCTIONS = ["dot_stuff", "dot_unstuff", "parse_command", "parse_mailbox", "parse_path", "parse_response"]


@pytest.mark.parametrize("name", GO_TYPES + ADDED_TYPES + ERRORS + FUNCTIONS)
def test_a_public_name_is_exported(name: str) -> None:
    assert name in smtpx.__all__
    assert getattr(smtpx, name).__module__.partition(".")[0] in {"smtpx", "builtins"}


def test_all_names_what_exists_and_in_order() -> None:
    assert [name for name in smtpx.__all__ if not hasattr(smtpx, name)] == []
    assert len(set(smtpx.__all__)) == len(smtpx.__all__)


# The numbers of the Go package smtp v0.29, from its documentation

STATUS = {
    "SYSTEM": 211,
    "HELP": 214,
    "READY": 220,
    "CLOSING": 221,
    "AUTHENTICATED": 235,
    "OK": 250,
    "ADDRESS_CHANGE": 251,
    "VERIFY_FAILED": 252,
    "AUTH_READY": 334,
    "DATA_READY": 354,
    "SHUTTING_DOWN": 421,
    "MAILBOX_UNAVAILABLE": 450,
    "LOCAL_ERROR": 451,
    "NO_STORAGE": 452,
    "PARAMETER_UNPROCESSABLE": 455,
    "CMD_UNKNOWN": 500,
    "CMD_TOO_LONG": 500,
    "CMD_SYNTAX_ERROR": 501,
    "CMD_NOT_IMPLEMENTED": 502,
    "CMD_BAD_SEQUENCE": 503,
    "PARAM_UNIMPLEMENTED": 504,
    "NOT_AUTHENTICATED": 530,
    "INVALID_CREDENTIAL": 535,
    "MAILBOX_NOT_FOUND": 550,
    "ADDRESS_CHANGE_ABORTED": 551,
    "MAIL_NO_STORAGE": 552,
    "MAILBOX_INCORRECT": 553,
    "TRANSACTION_FAILED": 554,
    "MAIL_RCPT_PARAM_UNKNOWN": 555,
}
COMMANDS = {
    "ZERO": 0,
    "HELO": 2,
    "EHLO": 4,
    "AUTH": 8,
    "MAIL": 16,
    "RCPT": 32,
    "DATA": 64,
    "RSET": 128,
    "VRFY": 256,
    "EXPN": 512,
    "HELP": 1024,
    "NOOP": 2048,
    "QUIT": 4096,
}


@pytest.mark.parametrize(("name", "number"), STATUS.items())
def test_a_status_has_the_number_of_the_go_package(name: str, number: int) -> None:
    assert smtpx.Status[name] == number


@pytest.mark.parametrize(("name", "number"), COMMANDS.items())
def test_a_command_kind_has_the_number_of_the_go_package(name: str, number: int) -> None:
    assert smtpx.CommandKind[name] == number


def test_plain_is_mechanism_1_as_in_the_go_package() -> None:
    assert int(smtpx.Mechanism.PLAIN) == 1


def test_an_invalid_credential_is_535_5_7_8() -> None:
    error = smtpx.InvalidCredential()
    assert (error.code, error.enhanced) == (535, "5.7.8")


def test_the_default_spool_is_the_one_of_the_go_package() -> None:
    assert smtpx.LocalStorage().directory == Path("/var/spool/smtp")


# What an import brings with it


def test_the_library_needs_none_of_the_command_lines_packages() -> None:
    # None in sys.modules makes an import fail, as if the package were not installed.
    absent = "import sys; sys.modules.update(dict.fromkeys(('typer', 'rich', 'cryptography', 'uvloop')));"
    assert run_python(f"{absent} import smtpx; print(smtpx.__version__)") == smtpx.__version__


def test_only_a_relay_that_asks_the_dns_imports_what_that_takes() -> None:
    assert run_python("import sys, smtpx; print('dns' in sys.modules)") == "False"


def test_importing_the_library_configures_no_logging() -> None:
    assert run_python("import logging, smtpx; print(logging.getLogger().handlers)") == "[]"


# Free-threaded Python

if sysconfig.get_config_var("Py_GIL_DISABLED"):

    def test_the_core_leaves_the_gil_off() -> None:
        assert run_python("import smtpx._core, sys; print(sys._is_gil_enabled())") == "False"

elif sys.version_info >= (3, 13):

    def test_the_core_declares_that_it_is_safe_without_the_gil() -> None:
        # A Python with a GIL ignores the declaration, so it is read where a free-threaded one reads it: in
        # the slots of the module's definition (PyModuleDef, PEP 489). m_slots is its tenth pointer-sized
        # field; a slot is a number and a value, 0 is the last.
        program = """
import ctypes, smtpx._core
init = ctypes.PyDLL(smtpx._core.__file__).PyInit__core
init.restype = ctypes.c_void_p
slot = ctypes.c_void_p.from_address(init() + 9 * ctypes.sizeof(ctypes.c_void_p)).value
while number := ctypes.c_int.from_address(slot).value:
    print(number, ctypes.c_void_p.from_address(slot + ctypes.sizeof(ctypes.c_void_p)).value)
    slot += 2 * ctypes.sizeof(ctypes.c_void_p)
"""
        mod_gil, gil_not_used = 4, 1
        assert f"{mod_gil} {gil_not_used}" in run_python(program).splitlines()


# The way of a message: each module imports only those before it here, also for type checking alone

LAYERS = [
    "smtpx.status",
    "smtpx.outcome",
    "smtpx.closing",
    "smtpx.errors",
    "smtpx.batches",
    "smtpx.log_events",
    "smtpx._core",
    "smtpx.tls",
    "smtpx.answers",
    "smtpx.limits",
    "smtpx.memory",
    "smtpx.handshake",
    "smtpx.early",
    "smtpx.deadlines",
    "smtpx.listener",
    "smtpx.session",
    "smtpx.networks",
    "smtpx.mail",
    "smtpx.result",
    "smtpx.info",
    "smtpx.target",
    "smtpx.sasl",
    "smtpx.extension",
    "smtpx.folding",
    "smtpx.received",
    "smtpx.delivery",
    "smtpx.routing",
    "smtpx.mx",
    "smtpx.resolver",
    "smtpx.addresses",
    "smtpx.headers",
    "smtpx.stamp",
    "smtpx.folders",
    "smtpx.maildir_files",
    "smtpx.maildir",
    "smtpx.mime",
    "smtpx.submission",
    "smtpx.newlines",
    "smtpx.compose",
    "smtpx.dsn_options",
    "smtpx.dsn",
    "smtpx.environment",
    "smtpx.envelopes",
    "smtpx.dkim",
    "smtpx.handler",
    "smtpx.storage.base",
    "smtpx.storage.entry",
    "smtpx.storage.spool",
    "smtpx.storage.room",
    "smtpx.storage.local",
    "smtpx.storage.sqlite_schema",
    "smtpx.storage.sqlite_views",
    "smtpx.storage.sqlite_file",
    "smtpx.storage.sqlite_messages",
    "smtpx.storage.sqlite_claims",
    "smtpx.storage.sqlite_operator",
    "smtpx.storage.sqlite_audit",
    "smtpx.storage.sqlite_rest",
    "smtpx.storage.wake",
    "smtpx.storage.sqlite_writer",
    "smtpx.storage.sqlite",
    "smtpx.storage.importing",
    "smtpx.storage",
    "smtpx.clock",
    "smtpx.schedule",
    "smtpx.verdict",
    "smtpx.lanes",
    "smtpx.claims",
    "smtpx.contents",
    "smtpx.eager",
    "smtpx.attempts",
    "smtpx.queue",
    "smtpx.local",
    "smtpx.desk",
    "smtpx.answering",
    "smtpx.connection",
    "smtpx.server",
    "smtpx.sync",
    "smtpx.options",
    "smtpx.dialogue",
    "smtpx.link",
    "smtpx.client",
    "smtpx.sync_link",
    "smtpx.sync_client",
    "smtpx.kept",
    "smtpx.pool",
    "smtpx.handover",
    "smtpx.route",
    "smtpx.relay",
    "smtpx.local_delivery",
    "smtpx",
    "smtpx.toml",
    "smtpx.places",
    "smtpx.systemd",
    "smtpx.certificate",
    "smtpx.logs",
    "smtpx.accounts",
    "smtpx.dkim_keys",
    "smtpx.domain_config",
    "smtpx.relay_config",
    "smtpx.config",
    "smtpx.site",
    "smtpx.app",
    "smtpx.demo",
    "smtpx.sending",
    "smtpx.told",
    "smtpx.account_commands",
    "smtpx.dkim_commands",
    "smtpx.queue_commands",
    "smtpx.cli",
    "smtpx.__main__",
]


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for pattern in ("*.py", "*.pyi") for path in SOURCE.rglob(pattern)}


def imports_of(path: Path) -> set[str]:
    """The modules of smtpx that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return {name for name in found if name.partition(".")[0] == "smtpx"}


def test_every_module_has_its_place_in_the_layers() -> None:
    assert MODULES.keys() == set(LAYERS)


# Exceptions carry values from above them, and name their types for the type checker alone.
CARRIED = {"smtpx.errors": {"smtpx._core", "smtpx.result"}}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_none_above_it(module: str) -> None:
    below = LAYERS[: LAYERS.index(module)]
    assert imports_of(MODULES[module]) <= {*below, *CARRIED.get(module, ())}
