"""``smtpx queue``: what an operator sees and does, while the server runs and while it does not."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from smtpx import LocalStorage, MailTx, SQLiteStorage, State

from tests.served import JOE, PATIENCE, Site, smtpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

if sys.platform == "win32":
    pytest.skip("it has neither os.openpty nor SIGTERM", allow_module_level=True)

CONTENT = b"Subject: hello\r\n\r\nhi\r\n"
LATER = timedelta(hours=1)
NOBODY = "no recipient is "
NOTHING_WAITS = "no recipient waits for a later attempt: see smtpx queue list\n"


def stored(site: Site, work: Callable[[SQLiteStorage], Awaitable[None]]) -> None:
    """Do something with the queue's storage, as a server that has ended since."""

    async def run() -> None:
        async with SQLiteStorage(site.folder / "spool" / "queue.db", reserve=0) as storage:
            await work(storage)

    asyncio.run(run())


def save(site: Site, *recipients: str, data: bytes = CONTENT) -> str:
    """Put a message into the queue; return its id."""
    mail = MailTx("ann@example.com", list(recipients or [JOE]), data)
    stored(site, lambda storage: storage.mail_save(mail))
    return mail.id


def attempt(site: Site, state: State, reply: str, *, again: timedelta = LATER) -> None:
    """Let whatever is due have had this answer."""

    async def settle(storage: SQLiteStorage) -> None:
        now = datetime.now(UTC)
        claimed = await storage.claim(now, LATER, 100)
        due = now + again
        await storage.settle(
            [replace(one, state=state, attempts=1, next_attempt=due, reply=reply) for one in claimed]
        )

    stored(site, settle)


def queue(site: Site, *arguments: object) -> str:
    """What a command says that does what it was asked."""
    ended = smtpx("queue", *arguments, "--config", site.config)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def refused(site: Site, *arguments: object) -> str:
    """What a command says that cannot do it."""
    ended = smtpx("queue", *arguments, "--config", site.config)
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr


def listed(site: Site, *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in queue(site, "list", "--json", *arguments).splitlines()]


def states(site: Site) -> dict[str, str]:
    every = [word for state in State for word in ("--state", state.value)]
    return {one["recipient"]: one["state"] for one in listed(site, *every)}


# What it shows


def test_list_is_a_line_a_recipient(stopped: Site) -> None:
    first, second = save(stopped), save(stopped, "a@example.net", "b@example.net")
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    lines = queue(stopped, "list").splitlines()
    assert lines[0].split() == ["id", "recipient", "state", "failed", "next", "attempt", "last", "answer"]
    assert [line.split()[:4] for line in lines[1:]] == [
        [first, JOE, "queued", "1"],
        [second, "a@example.net", "queued", "1"],
        [second, "b@example.net", "queued", "1"],
    ]
    assert all(line.rstrip().endswith("451 4.3.0 not now") for line in lines[1:])


def test_a_line_is_whole_however_long_where_no_terminal_is(stopped: Site) -> None:
    recipient = f"{'l' * 64}@{'.'.join(['d' * 60] * 3)}.example"
    mail_id = save(stopped, recipient)
    attempt(stopped, State.QUEUED, "451 4.3.0 " + "word " * 100 + "end")
    _, line = queue(stopped, "list").splitlines()
    assert line.startswith(f"{mail_id} ")
    assert f" {recipient} " in line
    assert line.rstrip().endswith("word end")


def test_on_a_terminal_a_table_is_as_wide_as_that_and_the_id_whole(stopped: Site) -> None:
    mail_id = save(stopped, "a@example.net")
    attempt(stopped, State.QUEUED, "451 4.3.0 " + "word " * 100)
    ours, its = os.openpty()
    command = [sys.executable, "-m", "smtpx", "queue", "list", "--config", str(stopped.config)]
    with subprocess.Popen(command, stdout=its, env=os.environ | {"TERM": "dumb"}) as shown:
        os.close(its)
        told = b""
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
            while part := read(terminal.fileno()):
                told += part
        assert shown.wait(PATIENCE) == 0
    lines = told.decode().splitlines()
    assert len(lines) > 5
    assert any(line.startswith(f"{mail_id} ") for line in lines)
    assert max(map(len, lines)) <= 80


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # what Linux says when nobody has the other end any more
        return b""


def test_list_shows_what_is_asked_for(stopped: Site) -> None:
    save(stopped, JOE, "a@example.net")
    attempt(stopped, State.DELIVERED, "250 2.0.0 taken")
    save(stopped, "b@example.net", "c@example.org")
    assert [one["recipient"] for one in listed(stopped)] == ["b@example.net", "c@example.org"]
    assert [one["recipient"] for one in listed(stopped, "--state", "delivered")] == [JOE, "a@example.net"]
    assert [one["recipient"] for one in listed(stopped, "--destination", "EXAMPLE.net")] == ["b@example.net"]


def test_list_says_that_there_is_more(stopped: Site) -> None:
    save(stopped, "a@example.net", "b@example.net")
    ended = smtpx("queue", "list", "--limit", 1, "--config", stopped.config)
    assert ended.stderr == "there are more than 1: see them with --limit\n"
    assert "a@example.net" in ended.stdout
    assert "b@example.net" not in ended.stdout


def test_an_object_of_list_says_all_that_is_known(stopped: Site) -> None:
    mail_id = save(stopped, "a@Bücher.example")
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    (one,) = listed(stopped)
    moments = [datetime.fromisoformat(one.pop(name)) for name in ("received", "changed", "next_attempt")]
    assert moments == sorted(moments)
    assert one == {
        "id": mail_id,
        "recipient": "a@Bücher.example",
        "destination": "xn--bcher-kva.example",
        "state": "queued",
        "attempts": 1,
        "reply": "451 4.3.0 not now",
    }


def test_an_empty_queue(stopped: Site) -> None:
    attempt(stopped, State.QUEUED, "makes the file")
    assert len(queue(stopped, "list").splitlines()) == 1
    assert listed(stopped) == []
    assert queue(stopped, "stats").splitlines()[0] == "messages: 0"
    assert queue(stopped, "verify").startswith("sound; messages: 0; ")
    assert refused(stopped, "hold", "--all") == f"error: {NOBODY}queued: see smtpx queue list\n"
    assert refused(stopped, "retry", "--all") == f"error: {NOTHING_WAITS}"


def test_show_has_the_envelope_the_header_and_where_it_stands(stopped: Site) -> None:
    mail_id = save(stopped, JOE, "a@example.net")
    told = queue(stopped, "show", mail_id).splitlines()
    assert told[:3] == ["from: <ann@example.com>", f"size: {len(CONTENT)} octets", "Subject: hello"]
    assert [line.split()[:3] for line in told[-2:]] == [
        [mail_id, JOE, "queued"],
        [mail_id, "a@example.net", "queued"],
    ]
    assert len(queue(stopped, "show", "--json", mail_id).splitlines()) == 2


def test_show_writes_the_content_as_it_is(stopped: Site) -> None:
    data = b"Subject: \xff\x1b[2J\r\n\r\n" + bytes(range(256))
    mail_id = save(stopped, data=data)
    command = [sys.executable, "-m", "smtpx", "queue", "show", "--content", mail_id, "--config"]
    assert subprocess.run([*command, stopped.config], stdout=-1, check=True).stdout == data


def test_show_of_a_message_whose_content_has_gone(stopped: Site) -> None:
    mail_id = save(stopped)
    attempt(stopped, State.DELIVERED, "250 2.0.0 taken")
    told = queue(stopped, "show", mail_id).splitlines()
    assert told[0] == "its content is no longer here"
    assert told[-1].split()[:3] == [mail_id, JOE, "delivered"]
    assert "its content is no longer here" in refused(stopped, "show", "--content", mail_id)


@pytest.mark.parametrize("arguments", [(), ("--content",), ("--json",)])
def test_show_of_a_message_that_was_never_there(stopped: Site, arguments: tuple[str, ...]) -> None:
    save(stopped)
    assert "there is no message 'nothing'" in refused(stopped, "show", "nothing", *arguments)


def test_stats_are_the_queue_at_a_glance(stopped: Site) -> None:
    save(stopped, JOE, "a@example.net", "b@example.net")
    told = json.loads(queue(stopped, "stats", "--json"))
    assert datetime.fromisoformat(told.pop("oldest")) <= datetime.now(UTC)
    assert told == {
        "messages": 1,
        "octets": len(CONTENT),
        "recipients": {"queued": 3, "held": 0, "delivered": 0, "bounced": 0, "removed": 0},
        "due": 3,
        "destinations": {"example.net": 2, "example.org": 1},
    }
    assert "destinations: example.net 2, example.org 1" in queue(stopped, "stats").splitlines()


@pytest.mark.parametrize("command", ["list", "show", "stats"])
def test_what_others_wrote_steers_no_terminal(stopped: Site, command: str) -> None:
    hostile = '"\x1b]0;x\x07[red]\u202e:smile:"@example.net'
    mail_id = save(stopped, hostile, data=b"Subject: \x1b[2J\xc2\x9b2J\rx\r\n\r\n")
    attempt(stopped, State.QUEUED, "451 \x1b[2J\n250 lie")
    told = queue(stopped, command, *([mail_id] if command == "show" else []))
    assert all(char.isprintable() for char in told.replace("\n", ""))
    if command != "stats":
        assert r'"\x1b]0;x\x07[red]\u202e:smile:"@example.net' in told
        assert r"451 \x1b[2J\n250 lie" in told


def test_a_message_whose_content_is_no_octets_is_damaged(stopped: Site) -> None:
    mail_id = save(stopped)
    with closing(sqlite3.connect(stopped.folder / "spool" / "queue.db")) as database, database:
        database.execute("UPDATE body SET content = CAST(content AS TEXT)")
    ended = smtpx("queue", "show", mail_id, "--config", stopped.config)
    assert ended.returncode == 1
    assert f"error: message {mail_id} is damaged and held: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert states(stopped) == {JOE: "held"}


# What it does


def test_a_message_is_held_and_released(stopped: Site) -> None:
    mail_id = save(stopped, JOE, "a@example.net")
    save(stopped, "b@example.net")
    assert queue(stopped, "hold", mail_id) == "recipients held: 2\n"
    assert states(stopped) == {JOE: "held", "a@example.net": "held", "b@example.net": "queued"}
    assert refused(stopped, "hold", mail_id).startswith(f"error: {mail_id}: {NOBODY}queued")
    assert queue(stopped, "release", mail_id) == "recipients due at once: 2\n"
    assert set(states(stopped).values()) == {"queued"}
    assert refused(stopped, "release", mail_id).startswith(f"error: {mail_id}: {NOBODY}held")


def test_one_recipient_of_a_message(stopped: Site) -> None:
    mail_id = save(stopped, JOE, "a@example.net")
    assert queue(stopped, "remove", mail_id, "--to", "a@example.net") == "recipients removed: 1\n"
    assert states(stopped) == {JOE: "queued", "a@example.net": "removed"}
    again = refused(stopped, "remove", mail_id, "--to", "a@example.net")
    assert again.startswith(f"error: {mail_id}: {NOBODY}queued or held")


def test_every_message(stopped: Site) -> None:
    save(stopped, JOE)
    save(stopped, "a@example.net", JOE)
    assert queue(stopped, "hold", "--all", "--to", JOE) == "recipients held: 2\n"
    assert queue(stopped, "remove", "--all") == "recipients removed: 3\n"
    assert listed(stopped) == []


def test_retry_makes_due_what_waits_and_leaves_what_is_held(stopped: Site) -> None:
    held, waiting = save(stopped, "a@example.net"), save(stopped, "b@example.net")
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    queue(stopped, "hold", held)
    assert queue(stopped, "retry", "--all") == "recipients due at once: 1\n"
    assert json.loads(queue(stopped, "stats", "--json"))["due"] == 1
    assert refused(stopped, "retry", held) == f"error: {held}: {NOTHING_WAITS}"
    assert refused(stopped, "retry", waiting) == f"error: {waiting}: {NOTHING_WAITS}"


def test_of_several_messages_each_that_nothing_was_done_with_is_named(stopped: Site) -> None:
    mail_id = save(stopped)
    ended = smtpx("queue", "hold", "one", mail_id, mail_id, "two", "--config", stopped.config)
    assert (ended.returncode, ended.stdout) == (1, "recipients held: 1\n")
    assert [line.split(": ")[1] for line in ended.stderr.splitlines()] == ["one", "two"]


@pytest.mark.parametrize(
    ("command", "state"),
    [("hold", "held"), ("release", "queued"), ("retry", "queued"), ("remove", "removed")],
)
def test_what_was_done_is_json_for_programs(stopped: Site, command: str, state: str) -> None:
    save(stopped, JOE, "a@example.net")
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    if command == "release":
        queue(stopped, "hold", "--all")
    assert json.loads(queue(stopped, command, "--all", "--json")) == {"state": state, "recipients": 2}


@pytest.mark.parametrize("command", ["retry", "hold", "release", "remove"])
def test_a_message_that_is_not_there_is_told(stopped: Site, command: str) -> None:
    save(stopped)
    assert refused(stopped, command, "nothing").startswith("error: nothing: no recipient ")
    assert states(stopped) == {JOE: "queued"}


@pytest.mark.parametrize("arguments", [(), ("--all", "some")])
def test_either_messages_are_named_or_all(stopped: Site, arguments: tuple[str, ...]) -> None:
    save(stopped)
    ended = smtpx("queue", "remove", *arguments, "--config", stopped.config)
    assert ended.returncode == 2
    assert "name the messages, or all of them with --all" in ended.stderr


def test_a_place_where_no_queue_can_be_is_told_without_a_traceback(stopped: Site) -> None:
    stopped.change('spool = "spool"', f'spool = "{"x" * 300}"')
    assert refused(stopped, "list").startswith(f"error: {stopped.folder}/xxx")


def test_without_a_queue_the_mend_is_told(stopped: Site) -> None:
    assert refused(stopped, "list") == (
        f"error: {stopped.folder}/spool/queue.db: there is no queue yet: smtpx serve makes it,"
        " or correct 'spool'\n"
    )


# Beside the server


def test_a_release_wakes_the_running_server(stopped: Site) -> None:
    mail_id = save(stopped)
    queue(stopped, "hold", mail_id)
    with stopped.running():
        queue(stopped, "release", mail_id)
        assert stopped.served.event("delivered")["id"] == mail_id
    assert len(stopped.letters()) == 1


def test_a_retry_wakes_the_running_server(stopped: Site) -> None:
    mail_id = save(stopped)
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    with stopped.running():
        queue(stopped, "retry", "--all")
        assert stopped.served.event("delivered")["id"] == mail_id
    assert len(stopped.letters()) == 1


def test_everything_else_while_the_server_runs(stopped: Site) -> None:
    mail_id = save(stopped, JOE, "a@example.net")
    attempt(stopped, State.QUEUED, "451 4.3.0 not now")
    with stopped.running():
        assert len(listed(stopped)) == 2
        assert "Subject: hello" in queue(stopped, "show", mail_id)
        assert queue(stopped, "hold", mail_id) == "recipients held: 2\n"
        assert queue(stopped, "remove", mail_id, "--to", "a@example.net") == "recipients removed: 1\n"
        assert "recipients: queued 0, held 1, " in queue(stopped, "stats")
        assert queue(stopped, "verify").startswith("sound; messages: 1; ")
        assert stopped.served.stop() == 0
    assert stopped.letters() == []


# The ledger


def test_verify_counts_each_recipient_in_one_state(stopped: Site) -> None:
    save(stopped)
    attempt(stopped, State.DELIVERED, "250 2.0.0 taken")
    save(stopped, "a@example.net")
    attempt(stopped, State.BOUNCED, "550 5.1.1 no")
    save(stopped, "b@example.net", "c@example.net")
    queue(stopped, "remove", "--all", "--to", "c@example.net")
    assert queue(stopped, "verify") == (
        "sound; messages: 3; recipients: queued 1, held 0, delivered 1, bounced 1, removed 1\n"
    )
    assert json.loads(queue(stopped, "verify", "--json")) == {
        "messages": 3,
        "recipients": {"queued": 1, "held": 0, "delivered": 1, "bounced": 1, "removed": 1},
        "faults": [],
    }


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("DELETE FROM recipient WHERE place = 1", "has 2 recipients, and 1 records of them"),
        ("DELETE FROM body", "2 recipients wait, and its content is missing"),
        ("UPDATE body SET content = x'00'", "its content is damaged: the checksum does not match"),
        (
            "UPDATE body SET content = CAST(content AS TEXT)",
            "its content is damaged: there is text where octets are kept",
        ),
        ("UPDATE recipient SET state = 'lost' WHERE place = 0", "recipient 0 is in no state: lost"),
        ("UPDATE message SET finished = received", "is marked as done with, and 2 recipients wait"),
    ],
)
def test_verify_names_what_is_wrong(stopped: Site, tampering: str, fault: str) -> None:
    mail_id = save(stopped, JOE, "a@example.net")
    with closing(sqlite3.connect(stopped.folder / "spool" / "queue.db")) as database, database:
        database.execute(tampering)
    ended = smtpx("queue", "verify", "--config", stopped.config)
    assert (ended.returncode, ended.stderr) == (1, "")
    *faults, verdict = ended.stdout.splitlines()
    assert f"message {mail_id}: {fault}" in faults
    assert verdict.startswith(f"faults: {len(faults)}; ")
    ended = smtpx("queue", "verify", "--json", "--config", stopped.config)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["faults"] == faults


def test_a_command_forgets_nothing_that_the_ledger_is_to_keep(stopped: Site) -> None:
    async def deliver_long_ago() -> None:
        moment = datetime.now(UTC) - timedelta(days=40)
        path = stopped.folder / "spool" / "queue.db"
        async with SQLiteStorage(path, reserve=0, keep=timedelta(days=365), clock=lambda: moment) as storage:
            await storage.mail_save(MailTx("ann@example.com", [JOE], CONTENT))
            (one,) = await storage.claim(moment, LATER, 1)
            await storage.settle([replace(one, state=State.DELIVERED)])

    asyncio.run(deliver_long_ago())
    stopped.change("[log]", "[queue]\nkeep_days = 365\n[log]")
    assert "delivered 1" in queue(stopped, "stats")
    assert queue(stopped, "verify").startswith("sound; messages: 1; ")


# A directory of before


def in_directory(site: Site, *mails: MailTx) -> None:
    async def run() -> None:
        async with LocalStorage(site.folder / "old") as storage:
            for mail in mails:
                await storage.mail_save(mail)

    (site.folder / "old").mkdir()
    asyncio.run(run())


def test_what_waits_in_a_directory_is_taken_over_and_delivered_by_the_running_server(stopped: Site) -> None:
    mails = [MailTx("ann@example.com", [JOE], b"Subject: %d\r\n\r\n" % number) for number in range(3)]
    in_directory(stopped, *mails)
    with stopped.running():
        told = queue(stopped, "import", stopped.folder / "old")
        assert told == f"messages taken over from {stopped.folder / 'old'}: 3\n"
        assert {stopped.served.event("delivered")["id"] for _ in mails} == {mail.id for mail in mails}
    assert len(stopped.letters()) == 3
    assert queue(stopped, "import", stopped.folder / "old").endswith(": 0\n")
    assert json.loads(queue(stopped, "import", "--json", stopped.folder / "old")) == {"messages": 0}


def test_what_is_taken_over_goes_to_whom_its_aliases_stand_for(stopped: Site) -> None:
    stopped.change('[domains."example.org"]', '[domains."example.org"]\naliases.info = ["joe@example.org"]')
    in_directory(stopped, MailTx("ann@example.com", ["info@example.org"], CONTENT))
    with stopped.running():
        queue(stopped, "import", stopped.folder / "old")
        assert stopped.served.event("delivered")["recipient"] == JOE
    assert len(stopped.letters()) == 1


def test_the_spool_of_before_may_be_the_one_of_now(stopped: Site) -> None:
    async def run() -> None:
        async with LocalStorage(stopped.folder / "spool") as storage:
            await storage.mail_save(MailTx("ann@example.com", [JOE], CONTENT))

    asyncio.run(run())
    with stopped.running():
        assert queue(stopped, "import", stopped.folder / "spool").endswith(": 1\n")
        stopped.served.event("delivered")
        assert stopped.served.stop() == 0
    assert len(stopped.letters()) == 1


def test_a_directory_that_is_not_there_is_told(stopped: Site) -> None:
    save(stopped)
    assert "elsewhere" in refused(stopped, "import", stopped.folder / "elsewhere")
