"""`DNSResolver`: what a relay asks the DNS, by dnspython; what follows from the answers is mx.py's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.resolver

from smtpx.errors import ConfigurationError, LookupFailed, NoSuchDomain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DNSResolver"]


_MOST_KEPT: Final = 10_000


class DNSResolver:
    """Asks the name servers of the system, or others.

    A burst of messages for one domain asks once: records are kept for as long as they say, and a minute at
    most. That there are none is never kept; to mend that should help at once.

    Args:
        nameservers: their addresses; None: those of ``/etc/resolv.conf``, or of the registry on Windows.
        port: theirs.
        timeout: seconds for an answer, tries and name servers in all.
        keep: seconds for which records are kept at most.

    Raises:
        ConfigurationError: the system names no name server.

    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        *,
        port: int = 53,
        timeout: float = 10.0,
        keep: float = 60.0,
    ) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise ConfigurationError(
                "the system names no name server: write nameserver and its address into /etc/resolv.conf"
            ) from error
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
        self._resolver.port = port
        self._resolver.lifetime = timeout
        self._resolver.timeout = timeout / 3  # of one try: a datagram may be lost
        self._keep = keep
        self._kept: dict[tuple[dns.name.Name, str], tuple[float, list[Any]]] = {}  # the oldest first

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """See `mx.Resolver`."""
        return [(record.preference, _text(record.exchange)) for record in await self._ask(domain, "MX")]

    async def addresses(self, host: str) -> list[str]:
        """See `mx.Resolver`."""
        answers = await asyncio.gather(self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True)
        found: list[str] = []
        failed: LookupFailed | None = None
        for answer in answers:
            if isinstance(answer, LookupFailed):
                failed = answer
            elif isinstance(answer, BaseException):
                if not isinstance(answer, NoSuchDomain):
                    raise answer
            else:
                found += [record.address for record in answer]
        if failed is not None and not found:
            raise failed
        return found

    async def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            absolute = dns.name.from_text(name)
        except dns.exception.DNSException as error:  # a label of over 63 octets, an empty one
            raise NoSuchDomain(f"{name!r} is no name that the DNS could know") from error
        now = asyncio.get_running_loop().time()
        until, records = self._kept.get((absolute, kind), (now, []))
        if now < until:
            return records
        try:
            # Never by the search list: user@example is not user@example.our.domain.
            answer = await self._resolver.resolve(absolute, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchDomain(f"the DNS knows no {name}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"{kind} of {name}: {error}") from error
        if answer.response.flags & dns.flags.TC:  # over TCP: what is missing might be all there is
            raise LookupFailed(f"{kind} of {name}: the answer is truncated")
        if records := list(answer):
            self._kept.pop((absolute, kind), None)
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            lasts = min(self._keep, answer.chaining_result.minimum_ttl)
            self._kept[absolute, kind] = (now + lasts, records)
        return records


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
