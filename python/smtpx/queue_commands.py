"""``smtpx queue``: what an operator sees of the queue and does with it, while the server runs or not."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from smtpx import config
from smtpx.delivery import State
from smtpx.envelopes import envelopes
from smtpx.errors import ConfigurationError, MailNotFound
from smtpx.folding import fold_domain
from smtpx.logs import printable
from smtpx.places import is_there
from smtpx.site import build_environment
from smtpx.storage import SQLiteStorage, import_spool
from smtpx.told import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from smtpx.delivery import Delivery
    from smtpx.storage.base import QueueStats

__all__ = ["queue"]

queue = typer.Typer(
    help="The queue: what waits, what became of what is gone, and what to do with it. A server may run.",
    no_args_is_help=True,
)

_T = TypeVar("_T")
_WAITING: Final = (State.QUEUED, State.HELD)
_HEADER_END: Final = b"\r\n\r\n"
_GONE: Final = "its content is no longer here"
_ANY_WIDTH: Final = 1 << 20  # characters

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The configuration that names the spool.",
        show_default=str(config.DEFAULT_PATH),
    ),
]
JSONOption: TypeAlias = Annotated[bool, typer.Option("--json", help="For programs: JSON, an object a line.")]
IDs: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="The messages.", show_default=False)
]
AllOption: TypeAlias = Annotated[bool, typer.Option("--all", help="Every message.")]
ToOption: TypeAlias = Annotated[str | None, typer.Option("--to", help="This recipient alone.")]

Shown = Enum("Shown", {state.name: state.value for state in State}, type=str)  # type: ignore[misc]  # for typer


def _run(path: Path | None, work: Callable[[SQLiteStorage], Awaitable[_T]]) -> _T:
    """Open the queue that the configuration names, and do something with it."""

    async def run() -> _T:
        settings = config.load(path or config.DEFAULT_PATH, files=False)
        if not is_there(settings.database):
            raise ConfigurationError(
                f"{settings.database}: there is no queue yet: smtpx serve makes it, or correct 'spool'"
            )
        keep = timedelta(days=settings.queue.keep_days)
        async with SQLiteStorage(settings.database, reserve=0, keep=keep) as storage:
            return await work(storage)

    return asyncio.run(run())


@queue.command("list")
def list_recipients(
    states: Annotated[
        list[Shown] | None,
        typer.Option("--state", help="Those in this state. May be repeated.", show_default="queued, held"),
    ] = None,
    destination: Annotated[str | None, typer.Option(help="Those of this domain.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    as_json: JSONOption = False,
    path: ConfigOption = None,
) -> None:
    """Show recipients, the oldest message first."""
    wanted = _WAITING if states is None else tuple(State(state.value) for state in states)
    domain = None if destination is None else fold_domain(destination)
    with told():
        found = _run(
            path,
            lambda storage: storage.deliveries(states=wanted, destination=domain, limit=limit + 1),
        )
        _show(found[:limit], as_json=as_json)
    if len(found) > limit:
        typer.echo(f"there are more than {limit}: see them with --limit", err=True)


@queue.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The message.")],  # noqa: A002 - its name
    content: Annotated[bool, typer.Option("--content", help="Write the content alone, as it is.")] = False,
    as_json: JSONOption = False,
    path: ConfigOption = None,
) -> None:
    """Show a message: its envelope, its header, and where it stands for each recipient."""

    async def find(storage: SQLiteStorage) -> tuple[Any, list[Delivery]]:
        found = await storage.deliveries(mail_id=id, limit=1 << 20)
        try:
            mail = await storage.mail_load(id)
        except MailNotFound:
            if not found:
                raise
            mail = None  # its content has gone where it was to go
        return mail, found

    with told():
        mail, found = _run(path, find)
        if content:
            if mail is None:
                raise ConfigurationError(f"{id}: {_GONE}: it went on, or was removed")
            sys.stdout.buffer.write(mail.data)
        elif as_json:
            _show(found, as_json=True)
        else:
            if mail is None:
                print(_GONE)
            else:
                print(printable(f"from: <{mail.mail_from}>"))
                print(f"size: {len(mail.data)} octets")
                header = mail.data.partition(_HEADER_END)[0].decode("utf-8", "replace")
                print(*map(printable, header.split("\r\n")), sep="\n")
            _show(found, as_json=False)


def _add_order(name: str, state: State, of: Sequence[State], words: str) -> None:
    @queue.command(name, help=words)
    def order(
        ids: IDs = None,
        every: AllOption = False,
        to: ToOption = None,
        as_json: JSONOption = False,
        path: ConfigOption = None,
    ) -> None:
        _change(path, state, ids, every, to, of=of, as_json=as_json)


_add_order("retry", State.QUEUED, (State.QUEUED,), "Try what is queued at once, whatever it was waiting for.")
_add_order("hold", State.HELD, (State.QUEUED,), "Try nothing until it is released.")
_add_order("release", State.QUEUED, (State.HELD,), "Put what is held back into the queue, due at once.")
_add_order("remove", State.REMOVED, _WAITING, "Take it out of the queue for good; nobody is told.")


@queue.command()
def stats(as_json: JSONOption = False, path: ConfigOption = None) -> None:
    """Show the queue at a glance."""
    with told():
        at_a_glance = _run(path, lambda storage: storage.stats(datetime.now(UTC)))
    if as_json:
        print(json.dumps(_fields(at_a_glance)))
        return
    for name, value in _fields(at_a_glance).items():
        if isinstance(value, dict):
            value = _listing(value)
        print(f"{name}: {'none' if value is None else value}")


@queue.command()
def verify(as_json: JSONOption = False, path: ConfigOption = None) -> None:
    """Go through the ledger: each recipient of each message that was answered 250 is in exactly one state.

    Says so with counts, or names each that is not, and ends with status 1.
    """
    with told():
        audit = _run(path, lambda storage: storage.audit())
    counts = {state.value: audit.recipients.get(state, 0) for state in State}
    if as_json:
        print(json.dumps({"messages": audit.messages, "recipients": counts, "faults": list(audit.faults)}))
    else:
        for fault in audit.faults:
            print(printable(fault))
        verdict = f"faults: {len(audit.faults)}" if audit.faults else "sound"
        print(f"{verdict}; messages: {audit.messages}; recipients: {_listing(counts)}")
    if audit.faults:
        raise typer.Exit(1)


@queue.command("import")
def import_directory(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a LocalStorage.")],
    as_json: JSONOption = False,
    path: ConfigOption = None,
) -> None:
    """Take over the messages that wait in a directory; run again after a crash, it goes on."""
    with told():
        environment = build_environment(config.load(path or config.DEFAULT_PATH, files=False), {})
        number = _run(
            path,
            lambda storage: import_spool(
                directory, storage, resolve=lambda mail: envelopes(mail, environment)
            ),
        )
    print(json.dumps({"messages": number}) if as_json else f"messages taken over from {directory}: {number}")


def _change(
    path: Path | None,
    state: State,
    ids: list[str] | None,
    every: bool,
    to: str | None,
    *,
    of: Sequence[State],
    as_json: bool,
) -> None:
    if every == bool(ids):
        raise typer.BadParameter("name the messages, or all of them with --all")
    messages = list(dict.fromkeys(ids or ()))

    async def change(storage: SQLiteStorage) -> list[int]:
        named = [[message] for message in messages] if messages else [None]
        return await asyncio.gather(*(storage.change(state, each, to, of=of) for each in named))

    with told():
        numbers = _run(path, change)
        if any(numbers) and as_json:
            print(json.dumps({"state": state.value, "recipients": sum(numbers)}))
        elif any(numbers):
            print(f"recipients {'due at once' if state is State.QUEUED else state.value}: {sum(numbers)}")
        if not all(numbers):
            heads = [f"{message}: " for message in messages] or [""]
            unchanged = [head for head, number in zip(heads, numbers, strict=True) if not number]
            raise ConfigurationError("\n".join(head + _none(state, of) for head in unchanged))


def _none(state: State, of: Sequence[State]) -> str:
    what = "is " + " or ".join(each.value for each in of)
    if state in of:
        what = "waits for a later attempt"  # what is due already, or being tried, is queued too
    return f"no recipient {what}: see smtpx queue list"


def _show(found: Iterable[Delivery], *, as_json: bool) -> None:
    if as_json:
        for delivery in found:
            print(json.dumps(_record(delivery)))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)  # to be copied
    for name in ("recipient", "state", "failed", "next attempt", "last answer"):
        table.add_column(name, overflow="fold", justify="right" if name == "failed" else "left")
    for each in found:
        due = _moment(each.next_attempt) if each.state is State.QUEUED else ""
        cells = each.mail_id, each.recipient, each.state.value, str(each.attempts), due, each.reply
        table.add_row(*map(printable, cells))
    # Nothing that came from outside is markup.
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _ANY_WIDTH  # whoever reads it with grep finds a record on one line
    console.print(table)


def _record(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.mail_id,
        "recipient": delivery.recipient,
        "destination": delivery.destination,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "next_attempt": delivery.next_attempt.isoformat() if delivery.state is State.QUEUED else None,
        "received": delivery.received.isoformat(),
        "changed": delivery.changed.isoformat(),
        "reply": delivery.reply,
    }


def _fields(stats: QueueStats) -> dict[str, Any]:
    return {
        "messages": stats.messages,
        "octets": stats.octets,
        "recipients": {state.value: stats.recipients.get(state, 0) for state in State},
        "due": stats.due,
        "oldest": None if stats.oldest is None else stats.oldest.isoformat(),
        "destinations": dict(stats.destinations),
    }


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{printable(name)} {number}" for name, number in counts.items()) or "none"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%m-%d %H:%M}"
