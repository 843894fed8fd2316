"""A resolver that says what the test has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx.errors import LookupFailed, NoSuchDomain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FAILS", "Names"]


class _Fails:
    """A lookup that fails for now."""


FAILS: Final = _Fails()


class Names:
    """The MX records of domains, and the addresses of hosts; what is in neither does not exist."""

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]] | _Fails] | None = None,
        addresses: Mapping[str, Sequence[str] | _Fails] | None = None,
    ) -> None:
        self._mx = mx or {}
        self._addresses = addresses or {}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        self.asked.append(domain)
        if domain not in self._mx:
            raise NoSuchDomain(domain)
        records = self._mx[domain]
        if isinstance(records, _Fails):
            raise LookupFailed(domain)
        return list(records)

    async def addresses(self, host: str) -> list[str]:
        self.asked.append(host)
        found = self._addresses.get(host, ())
        if isinstance(found, _Fails):
            raise LookupFailed(host)
        return list(found)
