"""The native parsers and the pure-Python ones of the benchmarks agree: the same values, the same refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benches import reference

if TYPE_CHECKING:
    from collections.abc import Callable

# What grammars turn on, beside letters: separators, quotes, brackets, controls, UTF-8 whole and broken.
OCTETS = [bytes([octet]) for octet in b'aZ09.-_@<>"\\:,;()[]=+ \t\r\n\x00\x7f!%']
OCTETS += [b"\xff", b"\xc3", "é".encode(), "\x85".encode(), "\u2028".encode(), "例".encode(), b"\r\n"]


def joined(
    parts: st.SearchStrategy[bytes], separator: bytes = b"", most: int = 4
) -> st.SearchStrategy[bytes]:
    return st.lists(parts, min_size=1, max_size=most).map(separator.join)


atom = st.text("abcxyzABC0189!#$%&'*+-/=?^_`{|}~éß例", min_size=1, max_size=8).map(str.encode)
dot_string = joined(atom, b".")
quoted = joined(st.sampled_from([*OCTETS, b'\\"', b"\\\\", b"\\ ", b"word", b"a.b"]), most=8).map(
    lambda content: b'"' + content + b'"'
)
label = st.one_of(
    st.text("abcxyz0189-éß", min_size=1, max_size=9).map(str.encode),
    st.integers(60, 66).map(lambda n: b"x" * n),
)
name = st.one_of(joined(label, b"."), st.integers(3, 9).map(lambda n: b".".join([b"y" * 31] * n)))
literal = st.one_of(
    st.ip_addresses(v=4).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]"),
    st.text("0123456789abcdefIPv6:.", max_size=50).map(lambda content: f"[{content}]"),
    st.text("0123456789af:.", max_size=40).map(lambda content: f"[ipv6:{content}]"),
    st.from_regex(r"\[IPv6:[0-9a-f]{0,4}(::?[0-9a-f]{1,4}){1,8}(::)?\]", fullmatch=True),
).map(str.encode)
domain = st.one_of(name, name, literal)
mailbox = st.one_of(
    st.builds(lambda local, host: local + b"@" + host, st.one_of(dot_string, quoted), domain),
    dot_string,
    quoted,
)
route = joined(domain.map(lambda host: b"@" + host), b",", 3).map(lambda hosts: hosts + b":")
path = st.one_of(
    st.builds(lambda hosts, address: b"<" + hosts + address + b">", st.one_of(st.just(b""), route), mailbox),
    st.just(b"<>"),
)
comment = st.recursive(
    st.sampled_from([*OCTETS, b"word", b"\\)", b"\\("]),
    lambda inner: joined(inner).map(lambda c: b"(" + c + b")"),
)
space = st.one_of(st.just(b""), st.just(b" "), st.just(b"\t "), comment)
commented = st.builds(
    lambda words, spaces: b"".join(part for pair in zip(words, spaces, strict=False) for part in pair),
    st.lists(st.one_of(atom, quoted, label, literal, st.sampled_from([b"@", b"."])), min_size=1, max_size=6),
    st.lists(space, min_size=6, max_size=6),
)
parameter = st.one_of(
    st.sampled_from([b"SIZE=10", b"size=99", b"BODY=8BITMIME", b"SMTPUTF8", b"AUTH=<>", b"ENVID=a+2Bb=="]),
    st.builds(
        lambda key, equals, value: key + equals + value,
        st.text("abXY01-", max_size=5).map(str.encode),
        st.sampled_from([b"", b"=", b"=="]),
        joined(st.sampled_from(OCTETS)),
    ),
)
envelope = st.builds(
    lambda verb, gap, address, tail: verb + gap + address + tail,
    st.sampled_from(
        [b"MAIL FROM:", b"RCPT TO:", b"mail from:", b"Rcpt To:", b"MAIL TO:", b"MAIL  FROM:", b"RCPT"]
    ),
    st.sampled_from([b"", b"", b" ", b"  "]),
    st.one_of(path, mailbox),
    st.lists(parameter, max_size=4).map(lambda words: b"".join(b" " + word for word in words)),
)
argument = st.one_of(
    st.just(b""),
    name,
    mailbox,
    joined(st.sampled_from(OCTETS)),
    st.integers(-1, 1 << 65).map(lambda n: b"%d" % n),
)
verb = st.sampled_from(
    [kind.name for kind in smtpx.CommandKind if kind.name] + ["ehlo", "Quit", "NOPE", "STARTTLSX"]
)
other_command = st.builds(
    lambda word, arguments, tail: b" ".join([word.encode(), *arguments]) + tail,
    verb,
    st.lists(st.one_of(argument, st.sampled_from([b"LAST", b"last", b"SMTPUTF8", b"PLAIN"])), max_size=3),
    st.sampled_from([b"", b" ", b" \t", b"\f"]),
)
line = st.builds(
    lambda command, end: command + end,
    st.one_of(envelope, other_command),
    st.sampled_from([b"\r\n", b"", b"\n"]),
)
text_line = joined(st.sampled_from([*OCTETS[:-1], b"2.0.0 OK"]), most=6).filter(
    lambda text: b"\n" not in text
)
code = st.one_of(
    st.just(b"250"), st.sampled_from([b"200", b"199", b"260", b"354", b"559", b"999", b"25", b"abc"])
)
reply = st.builds(
    lambda number, texts, separator, last, end: (
        b"".join(number + b"-" + text + b"\r\n" for text in texts) + last + separator + b"text" + end
    ),
    code,
    st.lists(text_line, max_size=3),
    st.sampled_from([b" ", b" ", b"-", b""]),
    code,
    st.sampled_from([b"\r\n", b"", b"\n", b"\r", b"\r\n250 OK\r\n"]),
)
content = joined(st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b"\r", b"\n", b"x", b"\r\n.\r\n"]), most=12)


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """As it should be, or with octets put in, taken out or replaced."""
    octets = bytearray(draw(valid))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 5]))):
        at = draw(st.integers(0, len(octets)))
        octets[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from([b"", *OCTETS]))
    return bytes(octets)


def outcome(parse: Callable[[bytes], Any], octets: bytes) -> Any:
    """Return the value, its fields where it has any, or the refusal."""
    try:
        value = parse(octets)
    except smtpx.SyntaxRefused as refused:
        return type(refused), refused.code, refused.enhanced
    match value:
        case smtpx.Command() | reference.Command():
            return value.kind, value.arg, value.param, value.params
        case smtpx.Response() | reference.Response():
            return value.code, value.message, value.body, bytes(value)
        case _:
            return value


def assert_agree(name: str, octets: bytes) -> None:
    assert outcome(getattr(smtpx, name), octets) == outcome(getattr(reference, name), octets)


many = settings(max_examples=1000, deadline=None)


@example(b"<@[10.10.10.10,@[0.0.0.0]:0>")
@many
@given(damaged(path))
@example(b'<"a@b"@example.com>')
@example(b"<a@[IPv6:1:2:3:4:5:6:7::]>")
@example(b"<a@" + b".".join([b"z" * 63] * 4) + b">")
@example(b"<a@" + b".".join([b"z" * 63] * 3 + [b"z" * 61, b"z"]) + b">")
@example(b"<a@" + b".".join([b"z" * 63] * 3 + [b"z" * 61, b"zz"]) + b">")
@example(b"<" + b"@a," * 400 + b"@b:c@d.org>")
def test_paths_agree(octets: bytes) -> None:
    assert_agree("parse_path", octets)


@many
@given(damaged(st.one_of(mailbox, commented)))
@example(b"j(x)oe@c.org")
@example(b"(" * 2000 + b"a@b.org")
def test_mailboxes_agree(octets: bytes) -> None:
    assert_agree("parse_mailbox", octets)


@many
@given(damaged(line))
@example(b"BDAT " + b"0" * 5000 + b"1 LAST\r\n")
@example(b"MAIL FROM:<a@b.org>" + b"".join(b" K%d=v" % n for n in range(64)))
@example(b"MAIL FROM:<a@b.org>" + b"".join(b" K%d=v" % n for n in range(65)))
def test_commands_agree(octets: bytes) -> None:
    assert_agree("parse_command", octets)


@many
@given(damaged(reply))
@example(b"250")
@example(b"250\r\n")
def test_replies_agree(octets: bytes) -> None:
    assert_agree("parse_response", octets)


@many
@given(content)
def test_stuffing_agrees(octets: bytes) -> None:
    assert_agree("dot_stuff", octets)


@many
@given(content)
def test_unstuffing_agrees(octets: bytes) -> None:
    assert_agree("dot_unstuff", octets)


@many
@given(
    st.sampled_from(["parse_path", "parse_mailbox", "parse_command", "parse_response"]),
    st.text(st.characters(), max_size=40),
)
@example("parse_path", "<j\udcff@c.org>")
@example("parse_mailbox", "j\ud800@c.org")
@example("parse_command", "MAIL FROM:<j\udcff@c.org>")
def test_text_agrees(name: str, text: str) -> None:
    assert_agree(name, text)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [[], ["two"], ["two", "", "three"]])
def test_framing_agrees(body: list[str]) -> None:
    assert bytes(smtpx.Response(250, "one", body)) == bytes(reference.Response(250, "one", body))
