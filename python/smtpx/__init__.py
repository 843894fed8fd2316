"""SMTP for Python: server, client, sans-IO engines and storage, with the hot path in Rust."""

from smtpx._core import (
    AuthEvent,
    ChallengeEvent,
    ClientEngine,
    CloseEvent,
    Command,
    CommandEvent,
    ContentEvent,
    EngineConfig,
    ErrorEvent,
    HandshakeEvent,
    MessageEvent,
    ReplyEvent,
    Response,
    ResponseDecoder,
    SentEvent,
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
from smtpx.client import Client
from smtpx.delivery import Delivery, State, Transport
from smtpx.dsn_options import DSN
from smtpx.environment import Account, DKIMOptions, Domain, Environment, Mailbox, MailingList
from smtpx.errors import (
    AddressError,
    ClientError,
    CommandError,
    CommandRefused,
    ConfigurationError,
    ConnectionLost,
    EngineError,
    InvalidCredential,
    LoginBroken,
    LoginRefused,
    LookupFailed,
    MailNotFound,
    MessageRefused,
    MessageTooLarge,
    NoSuchDomain,
    NotOffered,
    ReplyTimeout,
    ResponseError,
    SMTPError,
    StorageError,
    StorageFull,
    StorageLocked,
    SyntaxRefused,
    TLSFailed,
)
from smtpx.extension import Extension
from smtpx.handler import Handler
from smtpx.info import ServerInfo
from smtpx.limits import Limits
from smtpx.listener import Listener
from smtpx.local import LocalHandler
from smtpx.local_delivery import HandlerTransport, LMTPTransport, LocalTransport
from smtpx.mail import MailTx
from smtpx.maildir import MaildirTransport
from smtpx.options import Timeouts
from smtpx.outcome import Outcome
from smtpx.pool import Pool
from smtpx.queue import Queue
from smtpx.relay import Relay
from smtpx.result import RecipientResult, Result
from smtpx.routing import RoutingTransport
from smtpx.sasl import Mechanism
from smtpx.schedule import Schedule
from smtpx.server import Server
from smtpx.session import Session
from smtpx.status import CommandKind, Status
from smtpx.storage import LocalStorage, QueueStorage, SQLiteStorage, Storage
from smtpx.sync import SyncServer
from smtpx.sync_client import SyncClient

__all__ = [
    "DSN",
    "Account",
    "AddressError",
    "AuthEvent",
    "ChallengeEvent",
    "Client",
    "ClientEngine",
    "ClientError",
    "CloseEvent",
    "Command",
    "CommandError",
    "CommandEvent",
    "CommandKind",
    "CommandRefused",
    "ConfigurationError",
    "ConnectionLost",
    "ContentEvent",
    "DKIMOptions",
    "Delivery",
    "Domain",
    "EngineConfig",
    "EngineError",
    "Environment",
    "ErrorEvent",
    "Extension",
    "Handler",
    "HandlerTransport",
    "HandshakeEvent",
    "InvalidCredential",
    "LMTPTransport",
    "Limits",
    "Listener",
    "LocalHandler",
    "LocalStorage",
    "LocalTransport",
    "LoginBroken",
    "LoginRefused",
    "LookupFailed",
    "MailNotFound",
    "MailTx",
    "Mailbox",
    "MaildirTransport",
    "MailingList",
    "Mechanism",
    "MessageEvent",
    "MessageRefused",
    "MessageTooLarge",
    "NoSuchDomain",
    "NotOffered",
    "Outcome",
    "Pool",
    "Queue",
    "QueueStorage",
    "RecipientResult",
    "Relay",
    "ReplyEvent",
    "ReplyTimeout",
    "Response",
    "ResponseDecoder",
    "ResponseError",
    "Result",
    "RoutingTransport",
    "SMTPError",
    "SQLiteStorage",
    "Schedule",
    "SentEvent",
    "Server",
    "ServerEngine",
    "ServerInfo",
    "Session",
    "State",
    "Status",
    "Storage",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "SyncClient",
    "SyncServer",
    "SyntaxRefused",
    "TLSFailed",
    "Timeouts",
    "Transport",
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
