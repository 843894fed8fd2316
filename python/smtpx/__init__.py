"""SMTP for Python: a server, a sans-IO engine and storage, with the hot path in Rust."""

from smtpx._core import (
    AuthEvent,
    CloseEvent,
    Command,
    CommandEvent,
    EngineConfig,
    ErrorEvent,
    MessageEvent,
    Response,
    ResponseDecoder,
    ServerEngine,
    __version__,
    decode_xtext,
    dot_stuff,
    dot_unstuff,
    encode_xtext,
    parse_command,
    parse_mailbox,
    parse_path,
    parse_response,
)
from smtpx.environment import Account, DKIMOptions, Domain, Environment, Mailbox
from smtpx.errors import (
    AddressError,
    CommandError,
    ConfigurationError,
    EngineError,
    InvalidCredential,
    MailNotFound,
    ResponseError,
    SMTPError,
    StorageError,
    StorageFull,
    StorageLocked,
    SyntaxRefused,
)
from smtpx.extension import Extension
from smtpx.handler import Handler
from smtpx.info import ServerInfo
from smtpx.limits import Limits
from smtpx.listener import Listener
from smtpx.local import LocalHandler
from smtpx.mail import MailTx, Outcome, RecipientResult
from smtpx.sasl import Mechanism
from smtpx.server import Server
from smtpx.session import Session
from smtpx.status import CommandKind, Status
from smtpx.storage import LocalStorage, Storage
from smtpx.sync import SyncServer

__all__ = [
    "Account",
    "AddressError",
    "AuthEvent",
    "CloseEvent",
    "Command",
    "CommandError",
    "CommandEvent",
    "CommandKind",
    "ConfigurationError",
    "DKIMOptions",
    "Domain",
    "EngineConfig",
    "EngineError",
    "Environment",
    "ErrorEvent",
    "Extension",
    "Handler",
    "InvalidCredential",
    "Limits",
    "Listener",
    "LocalHandler",
    "LocalStorage",
    "MailNotFound",
    "MailTx",
    "Mailbox",
    "Mechanism",
    "MessageEvent",
    "Outcome",
    "RecipientResult",
    "Response",
    "ResponseDecoder",
    "ResponseError",
    "SMTPError",
    "Server",
    "ServerEngine",
    "ServerInfo",
    "Session",
    "Status",
    "Storage",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "SyncServer",
    "SyntaxRefused",
    "__version__",
    "decode_xtext",
    "dot_stuff",
    "dot_unstuff",
    "encode_xtext",
    "parse_command",
    "parse_mailbox",
    "parse_path",
    "parse_response",
]
