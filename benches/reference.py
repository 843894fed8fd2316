"""The parsers in pure Python, as fast as good Python gets: the opponent of the native ones in the benchmarks.

The same results and the same refusals (class, code and enhanced code) as ``smtpx``'s; only the offset of a
fault is not tracked. Precompiled patterns do the work, possessive where they repeat, so that time stays
linear on hostile input; no loop runs over characters.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from smtpx.errors import AddressError, CommandError, ResponseError
from smtpx.status import CommandKind

if TYPE_CHECKING:
    from collections.abc import Callable

_ATOM = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\xff]++"
_DOT_STRING = rb"%b(?:\.%b)*+" % (_ATOM, _ATOM)
_QUOTED = rb'"([ !#-\[\]-~\x80-\xff]*+(?:\\[ -~][ !#-\[\]-~\x80-\xff]*+)*+)"'
_LABEL = rb"(?!-)[A-Za-z0-9\-\x80-\xff]{1,63}+(?<!-)"
_NAME = rb"%b(?:\.%b)*+" % (_LABEL, _LABEL)
_DOMAIN = rb"(?:%b|\[[^\[\],@]{0,62}\])" % _NAME
_IPV4 = rb"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}"
_MAILBOX = rb"(?:(%b)|%b)(@%b)?" % (_DOT_STRING, _QUOTED, _DOMAIN)

_PATH = rb"<(?:(?:(@%b(?:,@%b)*+):)?%b)?>" % (_DOMAIN, _DOMAIN, _MAILBOX)
# What nearly every path is; ASCII, so that nothing is left to check but the length. It is held against text,
# whose groups need no decoding one by one.
_SIMPLE_PATH = (
    r"<([A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]++(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]++)*+"
    r"@(?!-)[A-Za-z0-9\-]{1,63}+(?<!-)(?:\.(?!-)[A-Za-z0-9\-]{1,63}+(?<!-))*+)>"
)
_simple_path = re.compile(_SIMPLE_PATH).fullmatch
_path = re.compile(_PATH).fullmatch
_mailbox = re.compile(_MAILBOX).fullmatch
_dot_string = re.compile(_DOT_STRING).fullmatch
_ipv4 = re.compile(_IPV4).fullmatch
_ipv6 = re.compile(rb"[0-9A-Fa-f:]++|[0-9A-Fa-f:]*:%b" % _IPV4).fullmatch
_quoted_pair = re.compile(rb"\\(.)").sub
_line_break = re.compile("[\x80-\x9f\u2028\u2029]").search
_special = re.compile(rb"[( \t]").search
_token = re.compile(
    rb'(?P<space>[ \t]++)|(?P<comment>\()|"(?:[^"\\]|\\.)*+"|\[[^\]]*+\]?+|[^ \t("\[]++', re.DOTALL
).match
_comment_mark = re.compile(rb"[()\x00-\x08\x0a-\x1f\x7f]|\\.", re.DOTALL).finditer

_MAX_DOMAIN = 255
_BRACKET = ord("[")
_BACKSLASH = ord("\\")


def parse_path(path: bytes | str) -> str:
    """Parse the path of MAIL or RCPT (RFC 5321 4.1.2)."""
    try:
        text = path if isinstance(path, str) else path.decode()
    except UnicodeDecodeError:
        _refuse("not UTF-8")
    if (match := _simple_path(text)) and len(text) <= _MAX_DOMAIN:
        return match[1]
    if full := _path(_octets(path)):
        return _path_text(*full.groups())
    return _refuse("not a path")


def parse_mailbox(mailbox: bytes | str) -> str:
    """Parse an address without brackets; comments and the space around words are stripped."""
    mailbox = _octets(mailbox)
    if _special(mailbox):
        _text(mailbox)
        mailbox = _strip_comments(mailbox)
    if not (match := _mailbox(mailbox)):
        _refuse("not a mailbox")
    return _canonical(*match.groups())


def _octets(text: bytes | str) -> bytes:
    return text.encode(errors="surrogatepass") if isinstance(text, str) else text


def _path_text(route: bytes | None, local: bytes | None, quoted: bytes | None, domain: bytes | None) -> str:
    if route:
        if not route.isascii():
            _text(route)
        if b"[" in route or len(route) > _MAX_DOMAIN:
            for host in route.split(b","):
                _check_domain(host)
    if local is None and quoted is None:
        return ""
    return _canonical(local, quoted, domain)


def _canonical(local: bytes | None, quoted: bytes | None, domain: bytes | None) -> str:
    if domain is None:
        domain = b""
    elif len(domain) > _MAX_DOMAIN or domain[1] == _BRACKET:
        _check_domain(domain)
    if quoted is not None:
        if b"\\" not in quoted:
            local = quoted if _dot_string(quoted) else b'"' + quoted + b'"'
        elif not _dot_string(local := _quoted_pair(rb"\1", quoted)):
            local = b'"' + local.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    assert local is not None
    return _text(local + domain)


def _check_domain(domain: bytes) -> None:
    """Refuse what the pattern lets through; the domain comes with its ``@`` before it."""
    if domain[1] == _BRACKET:
        if not _is_literal(domain[2:-1]):
            _refuse("bad address literal")
    elif len(domain) > _MAX_DOMAIN + 1:
        _refuse("domain too long")


def _is_literal(content: bytes) -> bool:
    if content[:5].upper() != b"IPV6:":
        return _ipv4(content) is not None
    content = content[5:]
    # inet_pton alone takes more than the RFC on some systems: a zone, leading zeros.
    if not _ipv6(content):
        return False
    text = content.decode()
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    # "::" stands for two groups at least (RFC 5321 4.1.3).
    return "::" not in text or sum(2 if "." in group else 1 for group in text.split(":") if group) <= 6


def _text(octets: bytes) -> str:
    """Decode, and refuse what other software might take for the end of a line."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        _refuse("not UTF-8")
    if not text.isascii() and _line_break(text):
        _refuse("control character")
    return text


def _strip_comments(mailbox: bytes) -> bytes:
    words: list[bytes] = []
    gap = False
    at = 0
    while at < len(mailbox):
        if not (match := _token(mailbox, at)):
            _refuse("unclosed quote")
        at = match.end()
        if match.lastgroup == "space":
            gap = True
        elif match.lastgroup == "comment":
            at = _comment_end(mailbox, match.start())
        else:
            word = match[0]
            # Two words with only space between them are not one word.
            if gap and words and word[0] not in b"@." and words[-1][-1] not in b"@.":
                _refuse("space within a word")
            gap = False
            words.append(word)
    return b"".join(words)


def _comment_end(mailbox: bytes, start: int) -> int:
    depth = 0
    for match in _comment_mark(mailbox, start):
        mark = match[0]
        if mark == b"(":
            depth += 1
        elif mark == b")":
            depth -= 1
        elif mark[0] != _BACKSLASH:
            _refuse("control character in a comment")
        if not depth:
            return match.end()
    return _refuse("unclosed comment")


def _refuse(message: str) -> NoReturn:
    raise AddressError(message)


_Parser: TypeAlias = "Callable[[bytes], Command]"


class Command(NamedTuple):
    """A command that is well formed; the fields are those of ``smtpx.Command``."""

    kind: CommandKind
    arg: str
    param: str
    params: dict[str, str]


_simple_envelope = re.compile(
    rf"(?i:(MAIL) FROM|RCPT TO): *+(?:{_SIMPLE_PATH}|<>)"
    r"((?: ++[A-Za-z0-9][A-Za-z0-9\-]*+(?:=[!-<>-~]++={0,2})?+)*+) *+(?:\r\n)?",
    re.ASCII,
).fullmatch
_parameter = re.compile("([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([^\x00-\x20=\x7f]++={0,2}))?").fullmatch
_lenient_path = re.compile(rb" *+(?:%b|(?!<)%b(?![^ ]))" % (_PATH, _MAILBOX)).match
_line_end = re.compile(rb"[\r\n]").search
_unprintable = re.compile(rb"[^ -~\t]").search
_control = re.compile("[\x00-\x1f\x7f]").search

_MAIL, _RCPT = CommandKind.MAIL, CommandKind.RCPT
_MAX_PARAMETERS = 64


def parse_command(line: bytes | str) -> Command:
    """Parse one line, with its CRLF or without (RFC 5321 4.1.1), as leniently as the default."""
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError:
        return _parse_any(line)
    if match := _simple_envelope(text):
        verb, address, tail = match.groups("")
        params: dict[str, str] = {}
        words = tail.split() if tail else ()
        for word in words:
            key, _, value = word.partition("=")
            params[key.upper()] = value
        if len(params) == len(words) <= _MAX_PARAMETERS and len(address) <= _MAX_DOMAIN and (verb or address):
            return Command(_MAIL if verb else _RCPT, address, "", params)
    return _parse_any(line)


def _parse_any(text: bytes | str) -> Command:
    line = _octets(text).removesuffix(b"\r\n")
    verb, _, rest = line.partition(b" ")
    parse = _PARSERS.get(verb.upper())
    if _line_end(line) or (b"\x00" in line and parse not in _ENVELOPES):
        raise CommandError("CR, LF or NUL in a command", 501, "5.5.2")
    if parse is None:
        if not line.isascii():
            raise CommandError("8-bit characters in a command", 501, "5.5.2")
        raise CommandError("unknown command", 500, "5.5.1")
    return parse(rest)


def _parse_mail(rest: bytes) -> Command:
    try:
        return _parse_envelope(_MAIL, b"FROM:", "5.1.7", rest)
    except CommandError as error:
        raise _nul_or(error, rest) from None


def _parse_rcpt(rest: bytes) -> Command:
    try:
        return _parse_envelope(_RCPT, b"TO:", "5.1.3", rest)
    except CommandError as error:
        raise _nul_or(error, rest) from None


_ENVELOPES = (_parse_mail, _parse_rcpt)


def _nul_or(error: CommandError, rest: bytes) -> CommandError:
    """Return the fault of an envelope: a NUL, unless the address itself is at fault."""
    if b"\x00" in rest and error.enhanced.startswith("5.5"):
        return CommandError("NUL in a command", 501, "5.5.2")
    return error


def _parse_envelope(kind: CommandKind, keyword: bytes, enhanced: str, rest: bytes) -> Command:
    start = len(keyword)
    if rest[:start].upper() != keyword or not rest[start:].strip(b" "):
        raise CommandError("write MAIL FROM:<path> or RCPT TO:<path>", 501, "5.5.4")
    match = _lenient_path(rest, start)
    if not match:
        raise CommandError("not a path", 501, enhanced)
    route, local, quoted, domain, bare, bare_quoted, bare_domain = match.groups()
    try:
        if bare is not None or bare_quoted is not None:
            address = _canonical(bare, bare_quoted, bare_domain)
        else:
            address = _path_text(route, local, quoted, domain)
    except AddressError as error:
        raise CommandError(str(error), 501, enhanced) from None
    if not address and kind is _RCPT:
        raise CommandError("the null path is no recipient", 501, enhanced)
    tail = _utf8(rest[match.end() :])
    if tail and not tail.startswith(" "):
        raise CommandError("text behind the path", 501, "5.5.4")
    params: dict[str, str] = {}
    for word in filter(None, tail.split(" ")):
        if not (parameter := _parameter(word)) or len(params) == _MAX_PARAMETERS:
            raise CommandError("not a parameter", 501, "5.5.4")
        key = parameter[1].upper()
        if key in params:
            raise CommandError("a parameter twice", 501, "5.5.4")
        params[key] = parameter[2] or ""
    return Command(kind, address, "", params)


def _parse_chunk(rest: bytes) -> Command:
    size, *last = [word for word in rest.split(b" ") if word] or [b""]
    digits = _utf8(size)
    if not (digits.isascii() and digits.isdigit()) or int(digits.lstrip("0")[:21] or "0") >= 1 << 64:
        raise CommandError("write BDAT octets [LAST]", 501, "5.5.4")
    if last and last[0].upper() != b"LAST":
        raise CommandError("write BDAT octets [LAST]", 501, "5.5.4")
    _end(b" ".join(last[1:]))
    return Command(CommandKind.BDAT, digits, "LAST" if last else "", {})


def _parse_auth(rest: bytes) -> Command:
    mechanism, response = _word(rest)
    return Command(CommandKind.AUTH, _printable(mechanism).upper(), _printable(_trim(response)), {})


def _parser_of_hello(kind: CommandKind) -> _Parser:
    def parse(rest: bytes) -> Command:
        name, rest = _word(rest)
        arg = _printable(name)
        _end(rest)
        return Command(kind, arg, "", {})

    return parse


def _parser_of_name(kind: CommandKind) -> _Parser:
    def parse(rest: bytes) -> Command:
        name = _utf8(_trim(rest))
        if _control(name):
            raise CommandError("control character", 501, "5.5.2")
        before, space, last = name.rpartition(" ")
        params = {}
        if space and last.upper() == "SMTPUTF8":
            name = before.rstrip()
            params["SMTPUTF8"] = ""
        if not name:
            raise CommandError("a name is missing", 501, "5.5.4")
        return Command(kind, name, "", params)

    return parse


def _parser_of_text(kind: CommandKind) -> _Parser:
    def parse(rest: bytes) -> Command:
        return Command(kind, _printable(_trim(rest)), "", {})

    return parse


def _parser_of_nothing(kind: CommandKind) -> _Parser:
    def parse(rest: bytes) -> Command:
        if rest:
            _end(rest)
        return Command(kind, "", "", {})

    return parse


_PARSERS: dict[bytes, _Parser] = {
    b"MAIL": _parse_mail,
    b"RCPT": _parse_rcpt,
    b"BDAT": _parse_chunk,
    b"AUTH": _parse_auth,
    b"HELO": _parser_of_hello(CommandKind.HELO),
    b"EHLO": _parser_of_hello(CommandKind.EHLO),
    b"VRFY": _parser_of_name(CommandKind.VRFY),
    b"EXPN": _parser_of_name(CommandKind.EXPN),
    b"HELP": _parser_of_text(CommandKind.HELP),
    b"NOOP": _parser_of_text(CommandKind.NOOP),
    b"DATA": _parser_of_nothing(CommandKind.DATA),
    b"RSET": _parser_of_nothing(CommandKind.RSET),
    b"QUIT": _parser_of_nothing(CommandKind.QUIT),
    b"STARTTLS": _parser_of_nothing(CommandKind.STARTTLS),
}


def _word(rest: bytes) -> tuple[bytes, bytes]:
    word, _, rest = rest.lstrip(b" ").partition(b" ")
    if not word:
        raise CommandError("an argument is missing", 501, "5.5.4")
    return word, rest


def _end(rest: bytes) -> None:
    if left := rest.strip(b" "):
        _printable(left)
        raise CommandError("too many arguments", 501, "5.5.4")


def _trim(rest: bytes) -> bytes:
    return rest.lstrip(b" ").rstrip(b" \t\f")


def _printable(octets: bytes) -> str:
    if _unprintable(octets):
        raise CommandError("not printable ASCII", 501, "5.5.2")
    return octets.decode()


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise CommandError("not UTF-8", 501, "5.5.2") from None


class Response(NamedTuple):
    """A reply; ``bytes`` frames it."""

    code: int
    message: str
    body: list[str]

    def __bytes__(self) -> bytes:
        lines = [self.message, *self.body]
        text = f"\r\n{self.code}-".join(lines[:-1])
        head = f"{self.code}-{text}\r\n" if len(lines) > 1 else ""
        return f"{head}{self.code} {lines[-1]}\r\n".encode()


_reply = re.compile(r"([2-5][0-5][0-9])(?:-[^\r\n\x00]*+\r\n\1)*+(?: [^\r\n\x00]*+)?+(?:\r\n)?+").fullmatch


def parse_response(raw: bytes | str) -> Response:
    """Parse one whole reply (RFC 5321 4.2); its last CRLF may be missing."""
    text = _octets(raw).decode(errors="replace")
    if not _reply(text):
        raise ResponseError("not a reply", 451, "4.5.0")
    lines = [line[4:] for line in text.removesuffix("\r\n").split("\r\n")]
    return Response(int(text[:3]), lines[0], lines[1:])


def dot_stuff(content: bytes) -> bytes:
    """Double the dots at the start of lines (RFC 5321 4.5.2). Split and join beat ``replace`` by a third."""
    stuffed = b"\r\n..".join(content.split(b"\r\n."))
    return b"." + stuffed if content.startswith(b".") else stuffed


def dot_unstuff(content: bytes) -> bytes:
    """Take a dot off at the start of each line."""
    return b"\r\n".join(content.removeprefix(b".").split(b"\r\n."))
