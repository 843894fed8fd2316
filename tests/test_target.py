"""Target: the URL of a server, read and shown."""

from __future__ import annotations

import pickle
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from smtpx.errors import ConfigurationError
from smtpx.target import Target, TLSMode

HOST = "mx.example.org"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("smtp://mx.example.org", Target(TLSMode.NONE, host=HOST, port=25)),
        ("smtps://mx.example.org", Target(TLSMode.IMPLICIT, host=HOST, port=465)),
        ("smtp+starttls://mx.example.org", Target(TLSMode.STARTTLS, host=HOST, port=587)),
        ("SMTP+StartTLS://MX.example.ORG:25", Target(TLSMode.STARTTLS, host=HOST, port=25)),
        ("lmtp://mx.example.org:24", Target(lmtp=True, host=HOST, port=24)),
        ("lmtp+unix:///run/dovecot/lmtp", Target(lmtp=True, path="/run/dovecot/lmtp")),
        ("lmtp+unix:///run/a%20b%3F", Target(lmtp=True, path="/run/a b?")),
    ],
)
def test_the_scheme_says_how_to_speak(url: str, target: Target) -> None:
    assert Target.parse(url) == target


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mx.example.org", "mx.example.org", 25),
        ("localhost:2525", "localhost", 2525),
        ("127.0.0.1:2525", "127.0.0.1", 2525),
        ("::1", "::1", 25),
        ("2001:DB8:0::1", "2001:db8::1", 25),
        ("fe80::1%eth0", "fe80::1%eth0", 25),
        ("[::1]:2525", "::1", 2525),
    ],
)
def test_a_bare_host_is_smtp(url: str, host: str, port: int) -> None:
    assert Target.parse(url) == Target(host=host, port=port)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("smtp://[::1]", "::1"),
        ("smtp://[2001:DB8:0:0::1]:25", "2001:db8::1"),
        ("smtp://[fe80::1%25eth0]", "fe80::1%eth0"),  # RFC 6874
        ("smtp://mail_server", "mail_server"),
        ("smtp://bücher.example", "xn--bcher-kva.example"),
        ("smtp://BÜCHER。example", "xn--bcher-kva.example"),
        ("smtp://１２７.0.0.1", "127.0.0.1"),  # noqa: RUF001 - full-width digits, which UTS 46 maps
        (f"smtp://{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_a_host_is_a_domain_or_an_address(url: str, host: str) -> None:
    assert Target.parse(url).host == host


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("smtp://mx", None, None),
        ("smtp://joe@mx", "joe", None),
        ("smtp://joe:@mx", "joe", ""),
        ("smtps://joe:secret@mx:465", "joe", "secret"),
        ("joe:secret@mx", "joe", "secret"),
        ("smtp://joe%40example.org:a%3Ab%2Fc%25%20%23@mx", "joe@example.org", "a:b/c% #"),
        ("smtp://joe@example.org:p@ss:word@[::1]:25", "joe@example.org", "p@ss:word"),
        ("smtp://j%C3%B6rg:gr%C3%BC%C3%9Fe@mx", "jörg", "grüße"),
        ("smtp://jörg:grüße@mx", "jörg", "grüße"),
        ("smtp://joe:a+b@mx", "joe", "a+b"),
    ],
)
def test_user_name_and_password_are_decoded(url: str, username: str | None, password: str | None) -> None:
    target = Target.parse(url)
    assert (target.username, target.password) == (username, password)


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("", "write smtp://"),
        ("smtp://", "write smtp://"),
        ("http://mx", "scheme"),
        ("smtp+tls://mx", "scheme"),
        ("://mx", "scheme"),
        ("smtp:mx", "host:port"),
        ("smtp://mx/", "behind host and port"),
        ("smtp://mx/path", "behind host and port"),
        ("smtp://mx?a=b", "%3F"),
        ("smtp://mx#a", "%23"),
        ("smtp://mx:", "host:port"),
        ("smtp://mx:x", "host:port"),
        ("smtp://mx:+25", "host:port"),
        ("smtp://mx:٢٥", "host:port"),
        ("smtp://mx:0", "from 1 to 65535"),
        ("smtp://mx:65536", "from 1 to 65535"),
        ("smtp://mx:4294967321", "host:port"),
        ("lmtp://mx", "24"),
        ("lmtp://mx:0", "24"),
        ("lmtp+unix://run/lmtp", "three slashes"),
        ("lmtp+unix://", "three slashes"),
        ("lmtp+unix:///", "three slashes"),
        ("lmtp+unix:///a?b", "%3F"),
        ("lmtp+unix:///a%00b", "NUL"),
        ("smtp://::1", "IPv6"),
        ("smtp://[::1", "IPv6"),
        ("smtp://[::1]x", "IPv6"),
        ("smtp://x[::1]", "IPv6"),
        ("smtp://[127.0.0.1]", "IPv6"),
        ("smtp://[::1%25]", "IPv6"),
        ("smtp://[fe80::1%eth0]", "%25"),
        ("1:2:3", "IPv6"),
        ("smtp://256.1.1.1", "IPv4"),
        ("smtp://1.2.3", "IPv4"),
        ("smtp://-mx.org", "domain"),
        ("smtp://mx..org", "domain"),
        ("smtp://mx.org.", "domain"),
        ("smtp://m%78", "domain"),
        ("smtp://m*x", "domain"),
        (f"smtp://{'a' * 64}.org", "domain"),
        (f"smtp://{'a.' * 126}ab", "domain"),
        ("smtp://\N{PILE OF POO}\u200d.example", "domain"),
        ("smtp://a\u2100b", "malformed"),  # "a/c" in one character
    ],
)
def test_what_is_no_url_is_refused_with_the_mend(url: str, mend: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Target.parse(url)
    assert mend in str(caught.value)


@pytest.mark.parametrize(
    ("user", "mend"),
    [
        ("@", "empty user name"),
        (":secret@", "empty user name"),
        ("joe:sec/ret@", "%2F"),
        ("joe:sec?ret@", "%3F"),
        ("joe:sec#ret@", "%23"),
        ("joe:sec ret@", "%20"),
        ("joe:100%secret@", "%25"),
        ("joe:secret%0D%0A@", "CR"),
        ("joe:secret%00@", "NUL"),
        ("j%0Aoe:secret@", "LF"),
        ("joe:secret%ff@", "UTF-8"),
        ("joe:[secret@", "percent-encoded"),
        ("joe:secret\ud800@", "surrogate"),
        ("joe:secret@:25:", "host"),
    ],
)
@pytest.mark.parametrize("scheme", ["smtp://", ""])
def test_what_is_no_user_is_refused_with_the_mend_and_without_the_password(
    scheme: str, user: str, mend: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Target.parse(f"{scheme}{user}mx")
    assert mend in str(caught.value)
    assert "sec" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("c", ["\r", "\n", "\0", " ", "\t", "\x7f"])
def test_an_url_has_no_spaces_and_control_characters(c: str) -> None:
    for url in (f"{c}smtp://mx", f"sm{c}tp://mx", f"smtp://m{c}x", f"smtp://mx{c}", f"lmtp+unix:///a{c}b"):
        with pytest.raises(ConfigurationError, match="percent-encode"):
            Target.parse(url)


def test_a_target_shows_no_password() -> None:
    target = Target.parse("smtps://joe:secret@mx.example.org")
    assert str(target) == "smtps://joe@mx.example.org:465"
    assert "secret" not in repr(target)


@pytest.mark.parametrize(
    "url",
    [
        "smtp://mx.example.org:25",
        "smtps://joe%40example.org@mx.example.org:465",
        "smtp+starttls://[fe80::1%25eth0]:587",
        "lmtp://127.0.0.1:24",
        "lmtp+unix:///run/a%20b",
    ],
)
def test_a_target_is_shown_as_the_url_that_is_read(url: str) -> None:
    assert str(Target.parse(url)) == url


def test_a_target_is_frozen_compared_and_pickled_by_value() -> None:
    target = Target.parse("smtps://joe:secret@mx")
    with pytest.raises(AttributeError):
        target.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(target)) == target
    assert len({target, Target.parse("smtps://joe:secret@mx:465")}) == 1


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=30)
HOSTS = st.one_of(
    st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z][a-z0-9]{0,10}){0,3}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.sampled_from(["[fe80::1%25eth0]", "bücher.example"]),
)


@given(st.sampled_from(["smtp", "smtps", "smtp+starttls", "lmtp"]), HOSTS, st.integers(1, 65535), TEXT, TEXT)
def test_any_url_that_is_well_encoded_is_read_and_shown(
    scheme: str, host: str, port: int, username: str, password: str
) -> None:
    assume(username)
    user = f"{quote(username, safe='')}:{quote(password, safe='')}"
    target = Target.parse(f"{scheme}://{user}@{host}:{port}")
    assert (target.port, target.username, target.password) == (port, username, password)
    assert Target.parse(str(target)) == replace(target, password=None)


@given(TEXT.filter(bool))
def test_any_path_that_is_well_encoded_is_read_and_shown(name: str) -> None:
    target = Target.parse(f"lmtp+unix:///{quote(name)}")
    assert target.path == f"/{name}"
    assert Target.parse(str(target)) == target


@given(st.text(max_size=40) | st.text("smtpl+unix:/@[]%.0123456789ab?#", max_size=40).map("smtp://{}".format))
def test_any_text_is_read_or_refused(url: str) -> None:
    try:
        target = Target.parse(url)
    except ConfigurationError:
        return
    assert Target.parse(str(target)) == replace(target, password=None)
