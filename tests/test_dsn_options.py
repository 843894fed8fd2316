"""What a sender asks about delivery status notifications."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx import decode_xtext, parse_command
from smtpx.dsn_options import DSN


def test_failure_and_delay_are_the_default() -> None:
    assert (DSN().mail_params(), DSN().rcpt_params("joe@example.org")) == (
        {},
        {"NOTIFY": "FAILURE,DELAY", "ORCPT": "rfc822;joe@example.org"},
    )


def test_mail_says_what_to_give_back_and_the_name() -> None:
    assert DSN(ret="HDRS", envid="a+b=c").mail_params() == {"RET": "HDRS", "ENVID": "a+2Bb+3Dc"}


def test_the_original_recipient_can_be_left_out() -> None:
    assert DSN(notify=("NEVER",), orcpt=False).rcpt_params("joe@example.org") == {"NOTIFY": "NEVER"}


def test_a_recipient_beyond_ascii_is_utf8() -> None:
    assert DSN().rcpt_params("jö+\\@bücher.example")["ORCPT"] == (
        "utf-8;j\\x{F6}\\x{2B}\\x{5C}@b\\x{FC}cher.example"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"notify": ()},
        {"notify": ("NEVER", "SUCCESS")},
        {"notify": ("success",)},
        {"notify": ("FAILURE\r\n",)},
        {"notify": "FAILURE"},
        {"ret": "BODY"},
        {"envid": ""},
        {"envid": "x" * 101},
        {"envid": "+" * 34},
        {"envid": "a\r\nb"},
        {"envid": "a\0"},
        {"envid": "ä"},
    ],
)
def test_h83a_what_the_server_would_refuse_is_refused_here(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        DSN(**options)


def test_an_envid_of_100_characters_is_taken() -> None:
    assert DSN(envid="x" * 100).mail_params() == {"ENVID": "x" * 100}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=33))
def test_the_server_reads_what_was_given(envid: str) -> None:
    command = parse_command(f"MAIL FROM:<> ENVID={DSN(envid=envid).mail_params()['ENVID']}\r\n")
    assert decode_xtext(command.params["ENVID"]) == envid


@given(st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z"]), min_size=1, max_size=33))
def test_the_server_reads_every_recipient(local: str) -> None:
    command = parse_command(
        f"RCPT TO:<> ORCPT={DSN().rcpt_params(f'{local}@b.c')['ORCPT']}\r\n".replace("<>", "<a@b.c>")
    )
    assert command.params["ORCPT"].startswith(("rfc822;", "utf-8;"))
