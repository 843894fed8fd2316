r"""Transcripts of sessions (``tests/dialogs/*.txt``): how they are read, and how they are run.

A file holds dialogs, each headed by ``== name``; a ``#`` begins a comment line. First come its settings::

    service: smtp | submission | submissions   the listener (smtp)
    start:   connect | banner | ehlo | tls | login | mail | rcpt | data
                                               how far the session is before the first step (connect)
    config:  name=value ...                    arguments of EngineConfig, or the Limits and handler settings
    refuse:  mail|rcpt ADDRESS REPLY           what the handler refuses; ``message REPLY`` for every message
    handler: recorder | local                  who takes the mail (recorder); local runs live only
    modes:   whole bytes live                  where it runs (all three)

then the steps::

    C: text     the client sends the line and CRLF
    C!: text    the client sends this and no CRLF; \r \n \0 \t \\ \xNN are octets
    S: 250 2.1.0      one whole reply comes; the code and, when given, the enhanced code on each of its lines.
                      Several with "|" between them: any of these
    S-has: text       the last reply has this line
    S-lacks: text     the last reply has no line that begins so
    S-last: 421       replies come until the server closes, the last one is this
    S-close           the server closes, without another word
    C-close           the client is gone, without another word
    TLS               handshake
    M: 1              so many messages have reached the handler
    M-from: address   of the last of them; M-to: address, address; M-params: {...}; M-rcpt-params: [{...}]
    M-data: text      its content, escaped like C!

C lines that follow one another are sent at once. ``{x*100}`` is x a hundred times, and ``{b64 text}`` the
base64 of a text, escaped like C!. Every reply must be asked for: one that is left over fails the dialog.
"""

from __future__ import annotations

import ast
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import smtpx
from smtpx import Response

from tests.peer import Reply, take_reply
from tests.recorder import Message, Policy

if TYPE_CHECKING:
    from tests.live import Live, Service

__all__ = ["Cut", "Dialog", "EngineWire", "LiveWire", "Wire", "at_once", "by_octets", "load", "run"]

FOLDER = Path(__file__).parent / "dialogs"

_PREAMBLE = {
    "banner": ("S: 220",),
    "ehlo": ("C: EHLO client.example", "S: 250"),
    "tls": ("C: STARTTLS", "S: 220 2.0.0", "TLS", "C: EHLO client.example", "S: 250"),
    "login": ("C: AUTH PLAIN {b64 \\0joe@example.org\\0secret}", "S: 235 2.7.0"),
    "mail": ("C: MAIL FROM:<joe@example.org>", "S: 250 2.1.0"),
    "rcpt": ("C: RCPT TO:<ann@example.org>", "S: 250 2.1.5"),
    "data": ("C: DATA", "S: 354"),
}
_SKIPPED = {"smtp": {"tls", "login"}, "submission": set[str](), "submissions": {"tls"}}
_VERBS = {
    "C",
    "C!",
    "S",
    "S-has",
    "S-lacks",
    "S-last",
    "S-close",
    "C-close",
    "TLS",
    "M",
    "M-from",
    "M-to",
} | {
    "M-params",
    "M-rcpt-params",
    "M-data",
}


@dataclass(frozen=True)
class Step:
    verb: str
    text: str
    place: str


@dataclass
class Dialog:
    """One dialog: its settings and its steps."""

    name: str
    service: Service = "smtp"
    start: str = "connect"
    handler: str = "recorder"
    config: dict[str, object] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    modes: tuple[str, ...] = ("whole", "bytes", "live")
    steps: list[Step] = field(default_factory=list)

    def script(self) -> list[Step]:
        """All the steps, the ones of ``start`` first."""
        names = list(_PREAMBLE)
        wanted = names[: names.index(self.start) + 1] if self.start != "connect" else []
        lines = [line for name in wanted if self._needs(name) for line in _PREAMBLE[name]]
        return [_step(line, f"start: {self.start}") for line in lines] + self.steps

    def _needs(self, name: str) -> bool:
        return name == self.start or name not in _SKIPPED[self.service]


# Reading


def load(pattern: str = "*.txt") -> list[Dialog]:
    """Read the dialogs of all the files whose names match."""
    return [dialog for path in sorted(FOLDER.glob(pattern)) for dialog in _parse(path)]


def _parse(path: Path) -> Iterator[Dialog]:
    dialog = None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            if dialog is not None:
                yield dialog
            dialog = Dialog(f"{path.stem}-{line[3:].strip()}")
            continue
        assert dialog is not None, f"{place}: a dialog begins with == and its name"
        word, _, rest = line.partition(":")
        if word in _VERBS or line in _VERBS:
            dialog.steps.append(_step(line, place))
        else:
            assert not dialog.steps, f"{place}: no step, and settings come first"
            _set(dialog, word, rest.strip(), place)
    if dialog is not None:
        yield dialog


def _step(line: str, place: str) -> Step:
    verb, _, text = line.partition(":")
    return Step(verb, text.removeprefix(" "), place)


def _set(dialog: Dialog, key: str, value: str, place: str) -> None:
    if key in ("service", "start", "handler"):
        setattr(dialog, key, value)
        if value == "local":
            dialog.modes = ("live",)
    elif key == "modes":
        dialog.modes = tuple(value.split())
    elif key == "config":
        dialog.config |= {name: _literal(text) for name, text in (item.split("=") for item in value.split())}
    elif key == "refuse":
        dialog.policy.add(value)
    else:
        raise AssertionError(f"{place}: unknown setting {key!r}")


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _expand(text: str) -> str:
    text = re.sub(r"\{([^{}]+)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    return re.sub(r"\{b64 ([^{}]*)\}", lambda match: b64encode(_octets(match[1])).decode(), text)


def _octets(text: str) -> bytes:
    pattern = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([rnt0\\]))")
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    text = _expand(text)
    octets, position = b"", 0
    for match in pattern.finditer(text):
        octets += text[position : match.start()].encode()
        octets += bytes.fromhex(match[1]) if match[1] else plain[match[2]]
        position = match.end()
    return octets + text[position:].encode()


# Running

Cut = Callable[[bytes], Iterable[bytes]]
"""How octets that the client sends at once are cut into reads."""


def at_once(data: bytes) -> Iterable[bytes]:
    return (data,)


def by_octets(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


class Wire(Protocol):
    """A server to talk to: an engine, or a live one."""

    def send(self, data: bytes) -> None: ...
    def reply(self) -> Reply: ...
    def last_reply(self) -> Reply: ...
    def start_tls(self) -> None: ...
    def expect_close(self) -> None: ...
    def hang_up(self) -> None: ...
    @property
    def messages(self) -> list[Message]: ...


class EngineWire:
    """A ServerEngine and the least driver of it: every read ends up in `receive_data`, cut as asked."""

    def __init__(self, dialog: Dialog, cut: Cut) -> None:
        self.messages: list[Message] = []
        self.policy = dialog.policy
        self._cut = cut
        self._received = bytearray()
        self._login: smtpx.sasl.ServerMechanism | None = None
        self._engine = smtpx.ServerEngine(engine_config(dialog), tls=dialog.service == "submissions")
        self._closed = False
        self._advance(self._engine.start())

    def send(self, data: bytes) -> None:
        for read in self._cut(data):
            if self._closed:  # the driver has closed the connection: nothing is read any more
                return
            self._advance(self._engine.receive_data(read))

    def reply(self) -> Reply:
        reply = take_reply(self._received)
        assert reply is not None, "no reply"
        return reply

    def last_reply(self) -> Reply:
        reply = self.reply()
        while self._received:
            reply = self.reply()
        self.expect_close()
        return reply

    def start_tls(self) -> None:
        assert not self._received, f"plain text behind the reply to STARTTLS: {bytes(self._received)!r}"
        self._engine.tls_started()

    def expect_close(self) -> None:
        assert not self._received, f"another reply: {bytes(self._received)!r}"
        assert self._closed, "the session goes on"

    def hang_up(self) -> None:
        self._closed = True

    def finish(self) -> None:
        """Fail when a reply is left that the dialog did not ask for."""
        assert not self._received, f"a reply too many: {bytes(self._received)!r}"

    def _advance(self, step: tuple[object | None, bytes]) -> None:
        event, output = step
        self._received += output
        while event is not None:
            if isinstance(event, smtpx.CloseEvent):
                self._closed = True
                return
            event, output = self._answer(event)
            self._received += output

    def _answer(self, event: object) -> tuple[object | None, bytes]:
        engine = self._engine
        match event:
            case smtpx.MessageEvent():
                self.messages.append(
                    Message(event.mail_from, event.params, event.recipients, event.rcpt_params, event.data)
                )
                return engine.reply(self.policy.message)
            case smtpx.AuthEvent():
                return self._authenticate(event)
            case smtpx.CommandEvent():
                return engine.reply(self.policy.refusal(event.command.kind, event.command.arg))
        raise AssertionError(f"an event that was not asked for: {event}")

    def _authenticate(self, event: smtpx.AuthEvent) -> tuple[object | None, bytes]:
        try:
            if event.initial or self._login is None:
                self._login = smtpx.sasl.server_mechanism(event.mechanism)
            answer = self._login.step(event.response)
        except smtpx.SMTPError as error:
            return self._engine.reply(Response(error.code, f"{error.enhanced} no"))
        if isinstance(answer, smtpx.sasl.Challenge):
            return self._engine.challenge(answer.data)
        return self._engine.reply(self.policy.login(answer.username, answer.password))


class LiveWire:
    """A live server and a raw client of it; with ``split``, what is sent at once comes in two reads."""

    def __init__(self, live: Live, *, split: bool = False) -> None:
        self.messages = live.recorder.messages
        self._live = live
        self._split = split
        self._peer = live.connect()
        self.reply = self._peer.reply
        self.last_reply = self._peer.last_reply
        self.expect_close = self._peer.expect_close

    def send(self, data: bytes) -> None:
        if self._split and len(data) > 1:
            # Amid the first CR, LF or dot that may be (a part of) an end.
            at = next((at for at in range(1, len(data)) if data[at] in b"\r\n."), len(data) // 2)
            self._peer.send(data[: at + 1])
            self._live.settle()
            data = data[at + 1 :]
        self._peer.send(data)

    def start_tls(self) -> None:
        self._peer.start_tls(self._live.certificate.client)

    def hang_up(self) -> None:
        self._peer.close()
        self._live.settle()


def engine_config(dialog: Dialog) -> smtpx.EngineConfig:
    """Return the configuration that the server gives the engine for such a listener."""
    submission = dialog.service != "smtp"
    settings: dict[str, object] = {
        "starttls": dialog.service != "submissions",
        "tls_required": submission,
        "auth_required": submission,
        "mechanisms": ("PLAIN", "LOGIN") if submission else (),
        "bare_newline": "normalize" if submission else "reject",
        "decide": dialog.policy.decides(),
    }
    return smtpx.EngineConfig("mx.example.org", **(settings | dialog.config))  # type: ignore[arg-type]


def run(dialog: Dialog, wire: Wire) -> None:
    """Play the dialog; a failure says the line of the file."""
    sending = b""
    reply: Reply | None = None
    place = ""
    try:
        for step in dialog.script():
            place = f"{step.place}: {step.verb}: {step.text[:100]}"
            if step.verb in ("C", "C!"):
                sending += _expand(step.text).encode() + b"\r\n" if step.verb == "C" else _octets(step.text)
                continue
            if sending:
                wire.send(sending)
                sending = b""
            reply = _play(step, wire, reply)
        if sending:
            wire.send(sending)
        if isinstance(wire, EngineWire):
            wire.finish()
    except (AssertionError, OSError) as error:
        error.add_note(f"at {place}")
        raise


def _play(step: Step, wire: Wire, last: Reply | None) -> Reply | None:
    text = step.text
    match step.verb:
        case "S" | "S-last":
            reply = wire.reply() if step.verb == "S" else wire.last_reply()
            assert reply.matches(text), f"expected {text}, got {reply}"
            return reply
        case "S-has":
            assert last is not None
            assert text in last.lines, f"no line {text!r} in {last}"
        case "S-lacks":
            assert last is not None
            assert not [line for line in last.lines if line.startswith(text)], f"{text!r} in {last}"
        case "S-close":
            wire.expect_close()
        case "C-close":
            wire.hang_up()
        case "TLS":
            wire.start_tls()
        case _:
            _check_message(step, wire.messages)
    return last


def _check_message(step: Step, messages: list[Message]) -> None:
    if step.verb == "M":
        assert len(messages) == int(step.text), f"{len(messages)} messages: {messages}"
        return
    assert messages, "no message"
    message = messages[-1]
    got: object
    wanted: object
    match step.verb:
        case "M-from":
            got, wanted = message.mail_from, step.text
        case "M-to":
            got, wanted = message.recipients, [address.strip() for address in step.text.split(",")]
        case "M-params":
            got, wanted = message.params, ast.literal_eval(step.text)
        case "M-rcpt-params":
            got, wanted = message.rcpt_params, ast.literal_eval(step.text)
        case _:
            got, wanted = message.data, _octets(step.text)
    assert got == wanted, f"{step.verb}: expected {wanted!r}, got {got!r}"
