"""What makes two spellings of an address one: any case, any normal form, U-label or A-label."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, MutableMapping
from functools import lru_cache
from typing import TypeVar, overload

import idna

from smtpx.errors import AddressError

__all__ = ["Folded", "ascii_domain", "fold_address", "fold_domain", "fold_local", "on_the_wire"]

_T = TypeVar("_T")
_D = TypeVar("_D")
_MAX_DOMAIN = 255


def fold_local(local: str) -> str:
    """Return the local part in lower case (RFC 5321 2.4 leaves that to us) and NFC (RFC 6532 3.1)."""
    if local.isascii():
        return local.lower()
    # Again behind it: some letters compose with a mark only where they are small (U+1E96).
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())


def fold_domain(name: str) -> str:
    """Return the A-label form in lower case; what has none is its own form, and so equals nothing valid."""
    # What is longer is no domain (RFC 5321 4.5.3.1.2), and not worth the memory.
    return _folded_domain(name) if len(name) <= _MAX_DOMAIN else name.lower()


@lru_cache(maxsize=1024)  # each message asks a dozen times, and mostly for the same few
def _folded_domain(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return name.lower()


def fold_address(address: str) -> str:
    """Return what is the same for every spelling of the address."""
    local, _, domain = address.rpartition("@")
    return f"{fold_local(local)}@{fold_domain(domain)}"


def ascii_domain(address: str) -> str:
    """Return the address with its domain as A-labels, so that only a local part can need SMTPUTF8 (RFC 6531).

    Where the local part needs it, the address stays as it is.

    Raises:
        AddressError: the domain has no A-label form (RFC 5891).

    """
    local, at, domain = address.rpartition("@")
    if domain.isascii() or not local.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError as error:
        raise AddressError(f"{domain!r} is no domain: {error}") from error


def on_the_wire(address: str) -> str:
    """Return the address with its domain as A-labels where it has them and the local part is ASCII."""
    try:
        return ascii_domain(address)
    except AddressError:
        return address


class Folded(MutableMapping[str, _T]):
    """A dict whose keys are folded to what they mean."""

    __slots__ = ("_fold", "_items")

    def __init__(self, fold: Callable[[str], str]) -> None:
        self._fold = fold
        self._items: dict[str, _T] = {}

    def __getitem__(self, key: str) -> _T:
        return self._items[self._fold(key)]

    @overload
    def get(self, key: str, /) -> _T | None: ...

    @overload
    def get(self, key: str, /, default: _T | _D) -> _T | _D: ...

    def get(self, key: str, /, default: _T | _D | None = None) -> _T | _D | None:
        """Return the value of the key, or the default; Mapping's own raises and catches an error for that."""
        # Nearly always it is written as it is kept: what a key is folded to, folds to itself.
        found = self._items.get(key, default)
        return self._items.get(self._fold(key), default) if found is default else found

    def __setitem__(self, key: str, value: _T) -> None:
        self._items[self._fold(key)] = value

    def __delitem__(self, key: str) -> None:
        del self._items[self._fold(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)
