"""What an EngineConfig takes, what it refuses, and what it says of itself."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import smtpx
from smtpx import CommandKind, ConfigurationError, EngineConfig

from tests.engines import HELLO, HOST, begun

NATIVE = [value for value in vars(smtpx).values() if inspect.isclass(value) and value.__module__ == "smtpx"]
LIMITS = [name for name in inspect.signature(EngineConfig).parameters if name.startswith("max_")]


def ehlo_lines(**settings: Any) -> list[str]:
    _, output = begun(**settings).receive_data(HELLO)
    return [line[4:] for line in output.decode().splitlines()]


@pytest.mark.parametrize(
    "setting",
    [
        {"hostname": ""},
        {"hostname": "a b"},
        {"hostname": "a\r\nb"},
        {"hostname": "a\x07b"},
        {"greeting": "x\r\ny"},
        {"greeting": "\0"},
        {"mechanisms": [""]},
        {"mechanisms": ["PLAIN LOGIN"]},
        {"mechanisms": ["PLAIN\r\n"]},
        {"mechanisms": ["X" * 21]},
        {"mechanisms": ["PLÄIN"]},
        {"extensions": [""]},
        {"extensions": ["X\r\nY"]},
        {"extensions": ["X  Y"]},
        {"extensions": ["X Ÿ"]},
        {"extensions": ["-X"]},
        {"extensions": ["SIZE 7"]},
        {"extensions": ["starttls"]},
        {"mail_params": ["A=B"]},
        {"mail_params": ["-A"]},
        {"rcpt_params": [""]},
        {"rcpt_params": ["A B"]},
        {"bare_newline": "ignore"},
        {"early_input": "maybe"},
        {"decide": 1},
        {"decide": -1},
        {"decide": 1 << 15},
        {"decide": 1 << 70},
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_is_refused_by_its_name(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigurationError, match=f"^{name}: .*write|^{name}: .*leave it out"):
        EngineConfig(**({"hostname": HOST} | setting))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, -1, 1 << 64, 1 << 100])
def test_a_limit_is_1_or_more(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: {value}: write a number from 1"):
        EngineConfig(HOST, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mechanisms", "extensions", "mail_params", "rcpt_params"])
def test_a_word_in_the_place_of_a_list_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        EngineConfig(HOST, **{name: "PLAIN"})  # type: ignore[arg-type]


def test_mechanisms_are_offered_in_their_order_and_in_upper_case() -> None:
    assert "AUTH X-2_A PLAIN" in ehlo_lines(mechanisms=["x-2_a", "PLAIN"])


def test_extensions_stand_beside_the_engines_own() -> None:
    lines = ehlo_lines(extensions=["XONE", "x-two a=1 b"])
    assert {"XONE", "x-two a=1 b", "PIPELINING"} < set(lines)


def test_none_is_an_empty_list() -> None:
    assert ehlo_lines(mechanisms=None, extensions=None, mail_params=None, rcpt_params=None) == ehlo_lines()


def test_every_command_kind_can_be_decided() -> None:
    everything = CommandKind.ZERO
    for kind in CommandKind:
        everything |= kind
    EngineConfig(HOST, decide=everything)


# What help() prints


@pytest.mark.parametrize("native", [EngineConfig, smtpx.Response, smtpx.ResponseDecoder, smtpx.Command])
def test_a_signature_shows_its_defaults(native: type) -> None:
    defaults = [parameter.default for parameter in inspect.signature(native).parameters.values()]
    assert Ellipsis not in defaults


@pytest.mark.parametrize("name", inspect.signature(EngineConfig).parameters)
def test_a_setting_is_explained(name: str) -> None:
    assert f"`{name}`" in (EngineConfig.__doc__ or "")


@pytest.mark.parametrize("native", NATIVE, ids=lambda native: native.__name__)
def test_a_native_class_and_each_of_its_names_are_explained(native: type) -> None:
    assert native.__doc__
    names = [name for name in vars(native) if not name.startswith("_")]
    assert [name for name in names if not getattr(native, name).__doc__] == []
