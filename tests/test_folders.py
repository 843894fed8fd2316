"""Folders of addresses: safe names, one for each address, one template for all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.errors import ConfigurationError
from smtpx.folders import FolderTemplate, safe_name

_TEXTS = st.text(max_size=80) | st.text("a.=/-2e+", max_size=200)


def test_usual_addresses_have_the_folders_that_one_expects() -> None:
    template = FolderTemplate("/var/mail/{domain}/{local}")
    assert template.folder("joe.smith@example.org") == Path("/var/mail/example.org/joe.smith")
    assert template.folder("joe_2-x@example.org") == Path("/var/mail/example.org/joe_2-x")


def test_a_template_may_have_more_around_its_fields() -> None:
    template = FolderTemplate("/srv/{domain}/users/{local}/Maildir")
    assert template.folder("joe@example.org") == Path("/srv/example.org/users/joe/Maildir")
    assert template.root == Path("/srv")


def test_the_root_is_the_last_folder_that_all_share() -> None:
    assert FolderTemplate("/var/mail/x-{local}").root == Path("/var/mail")
    assert FolderTemplate("/{local}").root == Path("/")


@pytest.mark.parametrize("spelling", ["Joe@BÜCHER.example", "JOE@xn--bcher-kva.example"])
def test_every_spelling_of_an_address_has_one_folder(spelling: str) -> None:
    template = FolderTemplate("/var/mail/{domain}/{local}")
    assert template.folder(spelling) == Path("/var/mail/xn--bcher-kva.example/joe")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("..", "=2e."),
        (".hidden", "=2ehidden"),
        ("a/b", "a=2fb"),
        ("a=2fb", "a=3d2fb"),
        ("a\0b", "a=00b"),
        ("jürgen", "j=c3=bcrgen"),
        ("o'brien", "o=27brien"),
        ("", "="),
    ],
)
def test_h28_what_is_not_safe_is_written_in_hexadecimal(text: str, name: str) -> None:
    assert safe_name(text) == name


@given(_TEXTS)
def test_h28_every_name_is_one_component_and_none_that_has_a_meaning(text: str) -> None:
    name = safe_name(text)
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\0\\:")
    assert not name.startswith(".")
    assert name.isascii()
    assert name == name.lower()
    assert len(name) <= 150


@given(_TEXTS, _TEXTS)
def test_h28_two_texts_never_have_one_name(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


@given(st.text("ab./=", min_size=1, max_size=4), st.text("ab./=", min_size=1, max_size=4))
def test_h28_no_folder_is_outside_of_the_root_or_within_another(one: str, other: str) -> None:
    template = FolderTemplate("/r/{domain}/{local}")
    folders = [template.folder(f"{local}@{domain}") for local, domain in ((one, other), (other, one))]
    for folder in folders:
        assert os.path.normpath(folder) == str(folder)
        assert len(folder.relative_to("/r").parts) == 2
    assert (folders[0] == folders[1]) == (one == other)


def test_a_long_local_part_ends_in_a_digest_of_the_whole() -> None:
    one, other = safe_name("x" * 300 + "1"), safe_name("x" * 300 + "2")
    assert len(one) == len(other) == 150
    assert one != other
    assert one[:116] == "x" * 116


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("/var/mail/{domain}", "is one folder for all"),
        ("/var/mail/joe", "is one folder for all"),
        ("/var/mail/{local}{domain}", "joins the two in one name"),
        ("/var/mail/{domain}-{local}", "joins the two in one name"),
        ("/var/mail/{user}/{local}", "more than {domain} and {local}"),
        ("/var/mail/{local", "more than {domain} and {local}"),
        ("/var/mail/{local!r}", "more than {domain} and {local}"),
        ("mail/{local}", "no absolute path"),
        ("/var/../{local}", "no absolute path"),
        ("/var/\0/{local}", "more than {domain} and {local}"),
    ],
)
def test_a_template_that_cannot_work_is_told(template: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        FolderTemplate(template)
