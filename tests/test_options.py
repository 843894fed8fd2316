"""What a client is told once."""

from __future__ import annotations

import logging
import math
import ssl
from typing import Any

import pytest
from smtpx import Timeouts
from smtpx.errors import ConfigurationError
from smtpx.options import Options
from smtpx.sasl import Mechanism

URL = "smtp://mx.example.org"


def options(url: str = URL, local_name: str | None = None, **settings: Any) -> Options:
    return Options(url, local_name, **settings)


# Timeouts


def test_the_times_are_those_of_rfc_5321() -> None:
    assert options().timeouts == Timeouts(
        connect=30, banner=300, command=300, data_init=120, data_block=180, data_end=600, total=None
    )


def test_a_number_is_the_most_that_any_wait_may_last() -> None:
    assert options(timeout=150).timeouts == Timeouts(
        connect=30, banner=150, command=150, data_init=120, data_block=150, data_end=150
    )


def test_timeouts_are_taken_as_they_are() -> None:
    assert options(timeout=Timeouts(data_end=900)).timeouts.data_end == 900


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e10])
@pytest.mark.parametrize(
    "name", ["connect", "banner", "command", "data_init", "data_block", "data_end", "total"]
)
def test_a_time_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"Timeouts.{name} must be more than 0"):
        Timeouts(**{name: value})


@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_number_that_is_no_time_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="more than 0"):
        options(timeout=value)


def test_a_total_bounds_the_connection_too() -> None:
    assert Timeouts(total=5).patience(0) == 5
    assert Timeouts(connect=3, total=5).patience(0) == 3
    assert Timeouts(connect=3, total=5).patience(4) == 1
    assert 0 < Timeouts(total=5).patience(6) < 0.1


# Who logs in


@pytest.mark.parametrize(
    ("url", "settings", "username", "password"),
    [
        (URL, {}, None, None),
        (URL, {"username": "joe", "password": "x"}, "joe", "x"),
        (URL, {"username": "joe", "password": ""}, "joe", ""),
        ("smtp://joe:x@mx.example.org", {}, "joe", "x"),
        ("smtp://joe:x@mx.example.org", {"username": "ann", "password": "y"}, "ann", "y"),
        ("smtp://joe:x@mx.example.org", {"password": "y"}, "joe", "y"),
        ("smtp://joe@mx.example.org", {"password": "y"}, "joe", "y"),
        ("smtp://joe@mx.example.org", {"token": "t"}, "joe", None),
        ("smtp://joe%40b.org:%2F@mx.example.org", {}, "joe@b.org", "/"),
    ],
)
def test_the_login(url: str, settings: dict[str, Any], username: str | None, password: str | None) -> None:
    taken = options(url, **settings)
    assert (taken.username, taken.password) == (username, password)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        (URL, {"username": "joe"}),
        (URL, {"password": "x"}),
        (URL, {"token": "t"}),
        (URL, {"username": "", "password": "x"}),
        ("smtp://joe@mx.example.org", {}),
        ("smtp://joe:x@mx.example.org", {"username": "ann"}),
    ],
)
def test_half_a_login_is_refused(url: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="to log in takes a username, and a password or a token"):
        options(url, **settings)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        (URL, {"username": "joe", "password": "x", "token": "t"}),
        ("smtp://joe:x@mx.example.org", {"token": "t"}),
    ],
)
def test_a_password_and_a_token_are_one_too_many(url: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="password and token"):
        options(url, **settings)


def test_mechanisms_may_be_any_iterable() -> None:
    assert options(mechanisms=iter([Mechanism.PLAIN])).mechanisms == (Mechanism.PLAIN,)


# The rest


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "[1.2.3]", "a..b"])
def test_a_local_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="local_name"):
        options(local_name=name)


@pytest.mark.parametrize("name", ["me", "me.example.org", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_a_local_name_is_a_domain_or_an_address(name: str) -> None:
    assert options(local_name=name).local_name == name


def test_newlines_are_fix_or_strict() -> None:
    with pytest.raises(ConfigurationError, match="newlines"):
        options(newlines="crlf")


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no such argument: secure"):
        options(secure=True)


def test_insecure_and_a_context_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="contradict"):
        options(insecure=True, tls=ssl.create_default_context())


def test_the_context_verifies_the_name() -> None:
    context = options().context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_an_insecure_context_verifies_nothing() -> None:
    context = options(insecure=True).context
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_a_context_is_made_once_and_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = iter([ssl.create_default_context()])
    monkeypatch.setattr(ssl, "create_default_context", lambda: next(contexts))
    taken = options()
    assert taken.context is taken.context
    assert next(contexts, None) is None


def test_ones_own_context_is_used() -> None:
    context = ssl.create_default_context()
    assert options(tls=context).context is context


def test_without_debug_nothing_is_traced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "smtpx.client"):
        assert options().trace is None


def test_a_system_without_unix_sockets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.AF_UNIX", raising=False)
    with pytest.raises(ConfigurationError, match="no unix sockets"):
        options("lmtp+unix:///run/lmtp")
