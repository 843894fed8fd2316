"""Where an address has its folder: file names that are safe, and never two addresses' own."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from smtpx.errors import ConfigurationError
from smtpx.folding import fold_domain, fold_local

__all__ = ["FolderTemplate", "safe_name"]

_FIELD = re.compile(r"\{([^{}]*)\}|[{}]")
_UNSAFE = re.compile(r"[^a-z0-9_+.@-]|^\.")
_MAX_NAME = 150  # octets; file systems have 255, and some tools put theirs behind a name
_REMEMBERED = 4096  # addresses: to fold and to escape them costs more than to deliver a batch's letter
_DIGEST = 32  # hexadecimal digits: 128 bits, which nobody makes collide by choosing addresses


class FolderTemplate:
    """A path with ``{domain}`` and ``{local}`` in it: ``/var/mail/{domain}/{local}``.

    Every spelling of an address has one folder: any case, U-label or A-label. Two addresses have two.

    Attributes:
        root: the folder that all of them are in.
        per_domain: whether it has ``{domain}``; without it serves one domain alone.

    Raises:
        ConfigurationError: the template is no absolute path, or would put several addresses in one folder.

    """

    def __init__(self, template: str) -> None:
        fields = [match[1] for match in _FIELD.finditer(template)]
        unknown = set(fields) - {"domain", "local"}
        if unknown or "\0" in template:
            raise ConfigurationError(f"'{template}' has more than {{domain}} and {{local}}: leave that out")
        if "local" not in fields:
            raise ConfigurationError(f"'{template}' is one folder for all: write {{local}} in it")
        # Between the two there must be what is in no name, or a@bc and ab@c would share a folder.
        if "domain" in fields and re.search(r"\}[^/]*\{", template):
            raise ConfigurationError(f"'{template}' joins the two in one name: write a / between them")
        if not template.startswith("/") or ".." in template.split("/"):
            raise ConfigurationError(f"'{template}' is no absolute path without '..' in it: write one")
        self._template = template
        self.per_domain = "domain" in fields
        fixed = template[: template.index("{")]
        self.root = Path(fixed[: fixed.rindex("/")] or "/")
        self._remembered = lru_cache(_REMEMBERED)(self._folder)

    def folder(self, address: str) -> Path:
        """Return the folder of an address."""
        return self._remembered(address)

    def _folder(self, address: str) -> Path:
        local, _, domain = address.rpartition("@")
        names = {"domain": safe_name(fold_domain(domain)), "local": safe_name(fold_local(local))}
        return Path(_FIELD.sub(lambda match: names[match[1]], self._template))

    def __str__(self) -> str:
        return self._template


def safe_name(text: str) -> str:
    """Return a file's name for a text; two texts never have the same one.

    It has ``[a-z0-9_+.@-]`` and begins with no dot (HOSTILE 28); any other octet of the UTF-8 form is ``=``
    and its two hexadecimal digits, capitals too. What gets long ends in ``==`` and a digest of the whole.
    """
    name = _UNSAFE.sub(lambda found: "".join(f"={octet:02x}" for octet in _octets(found[0])), text) or "="
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(_octets(text)).hexdigest()[:_DIGEST]
    return f"{name[: _MAX_NAME - _DIGEST - 2]}=={digest}"


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
