"""Whole sessions for the scripted server, so that a test is about the one answer that it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scripted import Connection, Step, close, expect, play, say, start_tls, take_chunk, then

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

__all__ = ["Answer", "ehlo", "greeting", "polite", "serve", "upgrade"]

Answer = bytes | Step
"""Octets to say, or what to do instead."""
BANNER = b"220 scripted.example ESMTP\r\n"


def greeting(*keywords: str) -> bytes:
    """Return the reply to EHLO."""
    lines = ["scripted.example", *keywords]
    return b"".join(
        b"250%c%b\r\n" % (b" " if number == len(lines) else b"-", line.encode())
        for number, line in enumerate(lines, 1)
    )


def ehlo(*keywords: str) -> list[Step]:
    """Return the common opening: a banner, and EHLO answered with these keywords."""
    return [say(BANNER), expect("EHLO"), say(greeting(*keywords))]


def upgrade(context: ssl.SSLContext, behind: bytes = b"") -> Step:
    """Answer STARTTLS, with octets injected behind the reply in the same segment, and shake hands."""
    return then(say(b"220 2.0.0 go ahead\r\n" + behind), start_tls(context))


def polite(*keywords: str, **answers: Answer | Sequence[Answer]) -> list[Step]:
    r"""Return a whole session with a client of any behaviour, in which some answers are replaced.

    The names are the commands in lower case, ``banner``, and ``done`` for the end of the content:
    ``polite("PIPELINING", mail=b"451 later\r\n", done=reset())``. Several answers are for the first, the
    second ... command of that name, and the last of them for all after it.
    """
    banner = answers.pop("banner", BANNER)
    assert isinstance(banner, (bytes, Step))  # there is only one
    return [_step(banner), serve(**{"ehlo": greeting(*keywords), **answers})]


_ANSWERS: dict[str, Answer] = {
    "helo": b"250 scripted.example\r\n",
    "lhlo": b"250 scripted.example\r\n",
    "auth": b"235 2.7.0 welcome\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go ahead\r\n",
    "bdat": b"250 2.0.0 chunk\r\n",
    "done": b"250 2.0.0 taken\r\n",
    "rset": b"250 2.0.0 ok\r\n",
    "noop": b"250 2.0.0 ok\r\n",
    "quit": then(say(b"221 2.0.0 bye\r\n"), close()),
}
_NAMES = {*_ANSWERS, "ehlo", "starttls", "vrfy", "expn", "help"}
_UNKNOWN = b"502 5.5.1 not implemented\r\n"
_TOO_SOON = b"503 5.5.1 out of sequence\r\n"


def serve(**answers: Answer | Sequence[Answer]) -> Step:
    """Answer command by command until the client closes, as `polite` does."""
    assert answers.keys() <= _NAMES, f"no such commands: {answers.keys() - _NAMES}"
    return Step("serve()", lambda connection: _Session(connection, answers).run())


class _Session:
    """An ordinary server: it knows whether a transaction is open, and for how many recipients."""

    def __init__(self, connection: Connection, answers: dict[str, Answer | Sequence[Answer]]) -> None:
        self._connection = connection
        self._answers = answers
        self._counts: dict[str, int] = {}
        self._opened, self._recipients = False, 0

    def run(self) -> None:
        connection = self._connection
        while not connection.ended and (line := connection.until(b"\r\n")) is not None:
            name = line.decode("latin-1").rstrip().partition(" ")[0].lower()
            if name == "bdat":
                take_chunk(connection, line)
                name = "done" if line.upper().endswith(b" LAST\r\n") else name
            self._answer(name)
            if name == "data" and connection.said.startswith(b"354") and not connection.ended:
                connection.read_content()
                self._recipients = max(self._recipients, 1)  # 354 was said, deservedly or not
                self._answer("done")

    def _answer(self, name: str) -> None:
        answer = self._answers.get(name)
        if answer is None:
            answer = _ANSWERS.get(name, _UNKNOWN) if self._allows(name) else _TOO_SOON
        elif not isinstance(answer, (bytes, Step)):
            number = self._counts.get(name, 0)
            self._counts[name] = number + 1
            answer = answer[min(number, len(answer) - 1)]
        self._connection.said = b""
        play([_step(answer)], self._connection)
        if self._connection.said.startswith(b"2"):
            self._note(name)

    def _allows(self, name: str) -> bool:
        if name == "rcpt":
            return self._opened
        return name not in ("data", "bdat", "done") or self._recipients > 0

    def _note(self, name: str) -> None:
        if name == "mail":
            self._opened, self._recipients = True, 0
        elif name == "rcpt":
            self._recipients += 1
        elif name in ("ehlo", "helo", "rset", "done"):
            self._opened, self._recipients = False, 0


def _step(answer: Answer) -> Step:
    return say(answer) if isinstance(answer, bytes) else answer
