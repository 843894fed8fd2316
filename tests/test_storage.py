"""The contract that every storage keeps, and the entry format.

A new storage passes these by one more line in ``STORAGES``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.errors import MailNotFound, StorageError
from smtpx.mail import MailTx, new_id
from smtpx.session import Session
from smtpx.storage import LocalStorage, SQLiteStorage, Storage
from smtpx.storage.entry import EntryError, encode_envelope, entry_header, read_entry

Opened: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Storage]]

STORAGES: dict[str, Opened] = {
    "local": lambda directory: LocalStorage(directory, reserve=0),
    "sqlite": lambda directory: SQLiteStorage(directory / "queue.db", reserve=0),
}


@pytest.fixture(params=STORAGES.values(), ids=list(STORAGES))
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens the storage of a directory, again and again when asked to."""
    storage: Opened = request.param
    return storage


@pytest.fixture
async def storage(opened: Opened, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(tmp_path) as storage:
        yield storage


def message(content: bytes = b"Subject: x\r\n\r\nhi\r\n", **changes: object) -> MailTx:
    session = Session("s1", ("192.0.2.1", 1234), "submissions")
    session.helo, session.esmtp, session.user = "client.example", True, "joe"
    session.tls, session.tls_info = True, "TLSv1.3 TLS_AES_256_GCM_SHA384"
    mail = MailTx(
        "jörg@bücher.example",
        ["joe@example.org", '"a b"@example.org'],
        content,
        params={"SIZE": "10", "SMTPUTF8": "", "ENVID": "QQ+2B1"},
        rcpt_params=[{"NOTIFY": "SUCCESS,FAILURE"}, {}],
        received=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        session=session,
    )
    for name, value in changes.items():
        setattr(mail, name, value)
    return mail


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# What is saved is loaded


async def test_a_saved_message_is_loaded_as_it_was(storage: Storage) -> None:
    mail = message(postpone=datetime(2026, 1, 3, tzinfo=UTC), retry=4)
    await storage.mail_save(mail)
    assert await storage.mail_load(mail.id) == mail


async def test_the_facts_of_the_session_are_kept(storage: Storage) -> None:
    mail = message()
    await storage.mail_save(mail)
    loaded = (await storage.mail_load(mail.id)).session
    assert loaded is not None
    assert {name: getattr(loaded, name) for name in Session.__slots__} == {
        name: getattr(mail.session, name) for name in Session.__slots__
    }


async def test_a_message_may_have_no_session_and_no_times(storage: Storage) -> None:
    mail = MailTx("", ["joe@example.org"], b"")
    await storage.mail_save(mail)
    loaded = await storage.mail_load(mail.id)
    assert loaded == mail
    assert loaded.session is None


async def test_a_message_without_an_id_is_given_one(storage: Storage) -> None:
    one, other = message(), message()
    await storage.mail_save(one)
    await storage.mail_save(other)
    assert one.id
    assert one.id != other.id


async def test_a_message_with_an_id_keeps_it(storage: Storage) -> None:
    mail = message(id="given-1")
    await storage.mail_save(mail)
    assert (await storage.mail_load("given-1")).id == "given-1"


async def test_a_message_saved_again_takes_the_place_of_the_first(storage: Storage) -> None:
    mail = message()
    await storage.mail_save(mail)
    mail.retry = 1
    await storage.mail_save(mail)
    assert [loaded.retry for loaded in await storage.mail_load_all()] == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": "Subject: x"},
        {"data": bytearray(b"Subject: x")},
        {"data": None},
        {"mail_from": None},
        {"mail_from": b"a@b.org"},
        {"recipients": "joe@example.org"},
        {"recipients": [b"joe@example.org", "ann@example.org"]},
        {"params": None},
        {"params": {"SIZE": 10}},
        {"rcpt_params": [{}]},
        {"rcpt_params": {}},
        {"id": 7},
        {"received": 1767323045},
        {"postpone": "tomorrow"},
        {"retry": "1"},
        {"session": "s1"},
    ],
    ids=str,
)
async def test_a_message_with_a_field_of_a_wrong_type_is_refused_by_its_name_and_leaves_nothing(
    storage: Storage, tmp_path: Path, wrong: dict[str, object]
) -> None:
    mail = message()
    ((name, value),) = wrong.items()
    setattr(mail, name, value)
    before = everything_in(tmp_path)
    with pytest.raises(TypeError, match=f"its {name}, "):
        await storage.mail_save(mail)
    assert everything_in(tmp_path) == before
    assert await storage.mail_load_all() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\r\n",
        b"\n\r\xff\x1a" * 7,
        bytes(range(256)),
        b"smtpx-mail 1 2 3 00000000\n{}\n",
        b"x" * 3_000_000,
    ],
    ids=["empty", "nul", "crlf", "bare", "octets", "header", "large"],
)
async def test_the_content_is_kept_octet_for_octet(storage: Storage, content: bytes) -> None:
    mail = message(content)
    await storage.mail_save(mail)
    assert (await storage.mail_load(mail.id)).data == content


async def test_all_messages_come_by_age(storage: Storage) -> None:
    mails = [message(b"%d" % number, id=new_id()) for number in range(5)]
    for mail in reversed(mails):
        await storage.mail_save(mail)
    assert [mail.data for mail in await storage.mail_load_all()] == [b"0", b"1", b"2", b"3", b"4"]


async def test_many_messages_saved_at_once_are_all_there(storage: Storage) -> None:
    mails = [message(b"%d" % number) for number in range(200)]
    await asyncio.gather(*map(storage.mail_save, mails))
    assert sorted(await storage.mail_load_all(), key=lambda mail: mail.id) == sorted(
        mails, key=lambda mail: mail.id
    )


async def test_the_messages_are_there_when_it_is_opened_again(opened: Opened, tmp_path: Path) -> None:
    kept, gone = message(), message()
    async with opened(tmp_path) as storage:
        await storage.mail_save(kept)
        await storage.mail_save(gone)
        await storage.mail_delete(gone.id)
    async with opened(tmp_path) as storage:
        assert await storage.mail_load_all() == [kept]


# What is deleted or bounced is not


@pytest.mark.parametrize("method", ["mail_delete", "mail_bounce"])
async def test_a_message_that_is_deleted_or_bounced_waits_no_longer(storage: Storage, method: str) -> None:
    mail = message()
    await storage.mail_save(mail)
    await getattr(storage, method)(mail.id)
    with pytest.raises(MailNotFound):
        await storage.mail_load(mail.id)
    assert await storage.mail_load_all() == []


@pytest.mark.parametrize("method", ["mail_load", "mail_delete", "mail_bounce"])
@pytest.mark.parametrize(
    "name",
    ["none", "", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "-rf", "x" * 300, "ä"],
)
async def test_h28_an_id_that_names_no_message_is_not_found(storage: Storage, method: str, name: str) -> None:
    with pytest.raises(MailNotFound) as caught:
        await getattr(storage, method)(name)
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("name", [".", "..", "../x", "/tmp/x", "a/b", "a\0b", ".hidden", "-rf", "x" * 300])
async def test_h28_a_message_is_not_saved_under_an_id_that_is_a_path(
    storage: Storage, tmp_path: Path, name: str
) -> None:
    with pytest.raises(StorageError):
        await storage.mail_save(message(id=name))
    assert await storage.mail_load_all() == []
    assert not list(tmp_path.parent.glob("x*"))


async def test_addresses_are_never_file_names(storage: Storage) -> None:
    mail = MailTx("../../a@b.org", ["/etc/passwd@example.org", "-rf\n@example.org", ".."], b"x")
    await storage.mail_save(mail)
    assert await storage.mail_load_all() == [mail]


async def test_a_cancelled_save_is_whole_or_not_there(storage: Storage) -> None:
    mails = [message(b"%d" % number * 1000) for number in range(40)]
    tasks = [asyncio.create_task(storage.mail_save(mail)) for mail in mails]
    await tasks[0]
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    saved = {task: mail for task, mail in zip(tasks, mails, strict=True) if not task.cancelled()}
    await storage.mail_save(message(b"the last"))  # whatever had begun is done before this one
    stored = await storage.mail_load_all()
    assert all(mail in stored for mail in saved.values())
    assert all(mail in mails or mail.data == b"the last" for mail in stored)


# The entry format of the directory


def entry(mail: MailTx) -> bytes:
    envelope = encode_envelope(mail)
    return entry_header(envelope, mail.data) + envelope + mail.data


def read(octets: bytes, path: Path) -> MailTx:
    path.write_bytes(octets)
    with path.open("rb") as file:
        return read_entry(file)


TEXTS = st.text(max_size=20)
PARAMS = st.dictionaries(TEXTS, TEXTS, max_size=3)
MOMENTS = st.none() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))]))


@given(TEXTS, st.lists(st.tuples(TEXTS, PARAMS), max_size=4), st.binary(max_size=100), PARAMS, MOMENTS)
def test_every_envelope_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    mail_from: str,
    recipients: list[tuple[str, dict[str, str]]],
    data: bytes,
    params: dict[str, str],
    moment: datetime | None,
) -> None:
    mail = MailTx(
        mail_from,
        [recipient for recipient, _ in recipients],
        data,
        params=params,
        rcpt_params=[given for _, given in recipients],
        id="1",
        received=moment,
        postpone=moment,
    )
    assert read(entry(mail), tmp_path_factory.getbasetemp() / "entry") == mail


def test_h95_an_entry_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    whole = entry(message(id="1"))
    for length in range(len(whole)):
        with pytest.raises(EntryError):
            read(whole[:length], tmp_path / "entry")


def test_h95_an_entry_with_any_octet_changed_is_damaged(tmp_path: Path) -> None:
    whole = entry(message(id="1"))
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x04
        with pytest.raises(EntryError):
            read(bytes(changed), tmp_path / "entry")


def test_h95_an_entry_with_more_behind_it_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="were written"):
        read(entry(message(id="1")) + b"x", tmp_path / "entry")


@given(st.binary(max_size=200))
def test_h95_garbage_is_damaged(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    with pytest.raises(EntryError):
        read(garbage, tmp_path_factory.getbasetemp() / "entry")


def test_h95_a_length_beyond_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="were written"):
        read(b"smtpx-mail 1 99999999999999999999 0 00000000\n{}\n", tmp_path / "entry")


def test_an_entry_of_a_later_version_says_so(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="version 2"):
        read(b"smtpx-mail 2 3 0 00000000\n{}\n", tmp_path / "entry")


@pytest.mark.parametrize(
    "envelope",
    [
        b"[]\n",
        b"{}\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"id":1}\n',
        encode_envelope(message(id="1")).replace(b'"retry":0', b'"retry":{}'),
        encode_envelope(message(id="1")).replace(b'"rcpt_params":[{', b'"rcpt_params":[{},{'),
        encode_envelope(message(id="1")).replace(b'"mail_from":"', b'"mail_from":7,"x":"'),
        encode_envelope(message(id="1")).replace(b'"SIZE":"10"', b'"SIZE":10'),
        encode_envelope(message(id="1")).replace(b'"received":"', b'"received":"x'),
    ],
    ids=["list", "empty", "null", "deep", "id", "retry", "rcpt_params", "mail_from", "params", "received"],
)
def test_an_envelope_with_wrong_fields_is_damaged_though_its_checksum_matches(
    envelope: bytes, tmp_path: Path
) -> None:
    with pytest.raises(EntryError, match="fields"):
        read(entry_header(envelope, b"") + envelope, tmp_path / "entry")


def test_keys_that_a_later_writer_adds_are_ignored(tmp_path: Path) -> None:
    mail = message(id="1")
    envelope = encode_envelope(mail).replace(b'{"id"', b'{"added":[1],"id"')
    assert read(entry_header(envelope, mail.data) + envelope + mail.data, tmp_path / "entry") == mail


def test_the_documented_reader_reads_an_entry(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "spool-format.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names: dict[str, Callable[[Path], tuple[dict[str, object], bytes]]] = {}
    exec(code, names)
    mail = message(id="1")
    whole = entry(mail)
    (tmp_path / "1.mail").write_bytes(whole)
    fields, content = names["read_mail"](tmp_path / "1.mail")
    assert fields["mail_from"] == "jörg@bücher.example"
    assert fields["recipients"] == mail.recipients
    assert fields["rcpt_params"] == mail.rcpt_params
    assert fields["received"] == "2026-01-02T03:04:05.678901+00:00"
    assert content == mail.data
    (tmp_path / "1.mail").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="damaged"):
        names["read_mail"](tmp_path / "1.mail")
