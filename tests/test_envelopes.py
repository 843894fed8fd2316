"""What becomes of an envelope when its aliases and lists are followed."""

from __future__ import annotations

import pytest
from smtpx.envelopes import envelopes
from smtpx.environment import Account, Domain, Environment, MailingList
from smtpx.mail import MailTx


@pytest.fixture
def environment() -> Environment:
    domain = Domain("example.org")
    domain.add(Account("", "joe", "example.org"))
    domain.add(Account("", "ann", "example.org"))
    domain.aliases["staff"] = ["joe", "x@far.example"]
    domain.lists["news"] = MailingList(["joe", "y@far.example"], "ann")
    return Environment(domain)


def mail(*recipients: str, sender: str = "a@b.org", **rcpt_params: str) -> MailTx:
    return MailTx(
        sender,
        list(recipients),
        b"x",
        params={"RET": "HDRS", "ENVID": "e1", "BODY": "8BITMIME"},
        rcpt_params=[dict(rcpt_params) for _ in recipients],
        id="id-1",
    )


def test_a_message_for_accounts_and_strangers_is_left_as_it_is(environment: Environment) -> None:
    given = mail("joe@example.org", "joe+x@example.org", "X@far.example", "x@far.example")
    assert envelopes(given, environment)[0] is given


def test_an_alias_becomes_its_members_and_the_original_is_named(environment: Environment) -> None:
    (made,) = envelopes(mail("staff@example.org", NOTIFY="FAILURE"), environment)
    assert made.recipients == ["joe@example.org", "x@far.example"]
    assert made.rcpt_params == [{"NOTIFY": "FAILURE", "ORCPT": "rfc822;staff@example.org"}] * 2
    assert (made.id, made.mail_from, made.params["ENVID"]) == ("id-1", "a@b.org", "e1")


def test_an_original_recipient_that_came_along_is_kept(environment: Environment) -> None:
    (made,) = envelopes(mail("staff@example.org", ORCPT="rfc822;other@b.org"), environment)
    assert made.rcpt_params[0] == {"ORCPT": "rfc822;other@b.org"}


def test_who_was_asked_for_directly_has_no_original_recipient(environment: Environment) -> None:
    (made,) = envelopes(mail("joe@example.org", "staff@example.org"), environment)
    assert made.recipients == ["joe@example.org", "x@far.example"]
    assert made.rcpt_params == [{}, {"ORCPT": "rfc822;staff@example.org"}]


def test_the_postmaster_without_a_domain_gets_the_primary_one(environment: Environment) -> None:
    (made,) = envelopes(mail("Postmaster"), environment)
    assert made.recipients == ["Postmaster@example.org"]


def test_h74_each_recipient_is_there_once_in_whatever_spelling(environment: Environment) -> None:
    (made,) = envelopes(mail("joe@example.org", "JOE@EXAMPLE.ORG", "x@far.example"), environment)
    assert made.recipients == ["joe@example.org", "x@far.example"]


def test_the_case_of_somebody_elses_local_part_is_left_to_him(environment: Environment) -> None:
    given = mail("Joe@far.example", "joe@far.example", "joe@FAR.example")
    (made,) = envelopes(given, environment)
    assert made.recipients == ["Joe@far.example", "joe@far.example"]


def test_a_list_is_a_message_of_its_owner_and_asks_for_no_reports(environment: Environment) -> None:
    (made,) = envelopes(mail("news@example.org", NOTIFY="SUCCESS", ORCPT="rfc822;q@b.org"), environment)
    assert made.mail_from == "ann@example.org"
    assert made.params == {"BODY": "8BITMIME"}
    assert made.recipients == ["joe@example.org", "y@far.example"]
    assert made.rcpt_params == [{}, {}]
    assert made.id == "id-1"


def test_a_list_beside_others_is_a_second_message_with_an_id_of_its_own(environment: Environment) -> None:
    direct, listed = envelopes(mail("news@example.org", "joe@example.org"), environment)
    assert (direct.id, direct.mail_from, direct.recipients) == ("id-1", "a@b.org", ["joe@example.org"])
    assert (listed.mail_from, listed.recipients) == ("ann@example.org", ["y@far.example"])
    assert listed.id not in ("", "id-1")
    assert direct.data == listed.data


def test_h72_a_message_from_the_null_path_keeps_it_through_a_list(environment: Environment) -> None:
    (made,) = envelopes(mail("news@example.org", "ann@example.org", sender=""), environment)
    assert made.mail_from == ""
    assert made.recipients == ["joe@example.org", "y@far.example", "ann@example.org"]


def test_h74_an_alias_that_has_become_a_loop_is_left_for_the_delivery(environment: Environment) -> None:
    environment.primary_domain.aliases["loop"] = ["loop"]
    (made,) = envelopes(mail("loop@example.org", "staff@example.org"), environment)
    assert made.recipients == ["loop@example.org", "joe@example.org", "x@far.example"]


def test_the_message_that_came_in_is_not_changed(environment: Environment) -> None:
    given = mail("staff@example.org", "news@example.org")
    envelopes(given, environment)
    assert given == mail("staff@example.org", "news@example.org")
