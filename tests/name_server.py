"""A name server on loopback that answers as a test has written it, well or badly."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from dns.message import Message

__all__ = ["Answer", "NameServer", "alias", "garbage", "nothing", "refusal", "silence", "truncated"]

Answer = Sequence[str] | Callable[["Message"], bytes | None]
"""Records as a zone file has them, or what makes octets of the query; None says nothing."""


def refusal(code: dns.rcode.Rcode) -> Answer:
    """Answer with NXDOMAIN, SERVFAIL and the like."""

    def answer(query: Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response.to_wire()

    return answer


def silence(query: Message) -> None:
    """Say nothing."""


def garbage(query: Message) -> bytes:
    """Send what is no answer, under the query's number."""
    return query.id.to_bytes(2, "big") + b"\x81\x80\xff\xff\xff\xff garbage"


def truncated(query: Message) -> bytes:
    """Say that the answer is too long for a datagram."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


def alias(target: str, *records: str) -> Answer:
    """Answer with a CNAME, and the records of its target."""

    def answer(query: Message) -> bytes:
        response = dns.message.make_response(query)
        [question] = query.question
        response.answer = [dns.rrset.from_text(question.name, 60, "IN", "CNAME", f"{target}.")]
        if records:
            name = dns.name.from_text(target)
            kind = dns.rdatatype.to_text(question.rdtype)
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *records))
        return response.to_wire()

    return answer


nothing: Answer = ()
"""NOERROR without a record: NODATA."""


class NameServer:
    """Answers by ``answers``, on UDP and TCP; a name that is not in it does not exist (NXDOMAIN).

    What is in ``over_tcp`` is answered otherwise there.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.over_tcp: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str]] = []
        self.ttl = 60
        self._udp, self._tcp = self._bound()
        self.port: int = self._udp.server_address[1]

    def _bound(self) -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
        while True:
            udp = socketserver.UDPServer(("127.0.0.1", 0), self._handler(_Datagram))
            try:
                return udp, socketserver.TCPServer(udp.server_address, self._handler(_Stream))
            except OSError:  # the port is free for datagrams only
                udp.server_close()

    def _handler(self, kind: type[_Handler]) -> type[_Handler]:
        return type(kind.__name__, (kind,), {"names": self})

    def __enter__(self) -> Self:
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()

    def octets(self, asked: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(asked)
        [question] = query.question
        key = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(key)
        answers = self.answers | self.over_tcp if tcp else self.answers
        if key not in answers:
            known = any(name == key[0] for name, _ in answers)
            answers = {key: nothing if known else refusal(dns.rcode.NXDOMAIN)}
        answer = answers[key]
        if callable(answer):
            return answer(query)
        response = dns.message.make_response(query)
        if answer:
            response.answer = [dns.rrset.from_text(question.name, self.ttl, "IN", key[1], *answer)]
        return response.to_wire()


class _Handler(socketserver.BaseRequestHandler):
    names: NameServer


class _Datagram(_Handler):
    def handle(self) -> None:
        asked, sock = self.request
        if (octets := self.names.octets(asked, tcp=False)) is not None:
            sock.sendto(octets, self.client_address)


class _Stream(_Handler):
    def handle(self) -> None:
        sock: socket.socket = self.request
        with contextlib.suppress(OSError):
            size = int.from_bytes(sock.recv(2, socket.MSG_WAITALL), "big")
            if octets := self.names.octets(sock.recv(size, socket.MSG_WAITALL), tcp=True):
                sock.sendall(len(octets).to_bytes(2, "big") + octets)
