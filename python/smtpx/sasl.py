"""SASL mechanisms: what AUTH's octets mean (RFC 4954). The framing (base64, "*", limits) is the engines'.

User names and passwords are UTF-8, sent and compared as given; SCRAM alone asks for SASLprep (RFC 4013).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from abc import ABC, abstractmethod
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from smtpx.errors import ConfigurationError, InvalidCredential, LoginBroken, NotOffered, SyntaxRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from scramp import ScramClient

__all__ = [
    "SERVER_MECHANISMS",
    "Challenge",
    "ClientMechanism",
    "Credentials",
    "Mechanism",
    "ServerMechanism",
    "choose_mechanism",
    "client_mechanism",
    "server_mechanism",
]


class Mechanism(IntEnum):
    """The mechanisms that smtpx speaks: a client all of them, a server PLAIN and LOGIN."""

    PLAIN = 1  # RFC 4616
    LOGIN = 2  # never standardised; draft-murchison-sasl-login
    CRAM_MD5 = 3  # RFC 2195
    SCRAM_SHA_256 = 4  # RFC 5802, RFC 7677
    SCRAM_SHA_256_PLUS = 5  # the same, bound to the TLS connection
    XOAUTH2 = 6  # never standardised; Google's and Microsoft's
    OAUTHBEARER = 7  # RFC 7628

    @property
    def wire(self) -> str:
        """The name on the wire: "SCRAM-SHA-256"."""
        return self.name.replace("_", "-")

    @classmethod
    def from_wire(cls, name: str) -> Mechanism | None:
        """Return the mechanism of a name on the wire, in any case; None is one that smtpx does not speak."""
        return next((mechanism for mechanism in cls if mechanism.wire == name.upper()), None)


# The server's side


@dataclass(frozen=True, slots=True)
class Challenge:
    """The octets to ask the client with, before base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client says it is; still to be checked."""

    username: str
    password: str = field(repr=False)


class ServerMechanism(Protocol):
    """The server's side of one exchange."""

    def step(self, response: bytes | None) -> Challenge | Credentials:
        """Take the client's decoded answer; None is AUTH without an initial response.

        Raises:
            SyntaxRefused: it is malformed (501 5.5.2).
            InvalidCredential: it can be right for nobody (535 5.7.8).

        """
        ...


class _Plain:
    """``[authzid] NUL authcid NUL passwd`` (RFC 4616 2)."""

    __slots__ = ()

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0", 2)
        if len(parts) != 3:
            raise SyntaxRefused("PLAIN: expected two NULs")
        authzid, username, password = (_text(part) for part in parts)
        # To act for somebody else is a right that no account has here.
        if authzid and authzid != username:
            raise InvalidCredential
        return _credentials(username, password)


class _Login:
    """Two prompts; the user name may come as the initial response."""

    __slots__ = ("_username",)

    def __init__(self) -> None:
        self._username: str | None = None

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"Username:")
        if self._username is None:
            self._username = _text(response)
            if not self._username:
                raise SyntaxRefused("LOGIN: empty user name")
            return Challenge(b"Password:")
        return _credentials(self._username, _text(response))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SyntaxRefused("not UTF-8", offset=error.start) from None  # the cause would hold the password


def _credentials(username: str, password: str) -> Credentials:
    if not username or "\0" in username:
        raise SyntaxRefused("empty user name, or a NUL in it")
    if "\0" in password:  # bcrypt, and any store in C, may take what is before the NUL for the whole
        raise InvalidCredential
    return Credentials(username, password)


_SERVER: Final[dict[Mechanism, Callable[[], ServerMechanism]]] = {
    Mechanism.PLAIN: _Plain,
    Mechanism.LOGIN: _Login,
}

SERVER_MECHANISMS: Final = tuple(_SERVER)
"""What a server offers."""


def server_mechanism(name: str) -> ServerMechanism:
    """Begin an exchange; ``name`` is the one on the wire, in any case.

    Raises:
        SyntaxRefused: there is no such mechanism (504 5.5.4).

    """
    mechanism = Mechanism.from_wire(name)
    if mechanism not in _SERVER:
        raise SyntaxRefused(f"no SASL mechanism {name!r}", 504, "5.5.4")
    return _SERVER[mechanism]()


# The client's side


class ClientMechanism(ABC):
    """The client's side of one exchange.

    Attributes:
        mechanism: which one it is.
        initial: the octets that go with AUTH; None: the server speaks first. Where the line would be too
            long, they answer its empty first challenge (RFC 4954 4).
        done: all is said, and the server has proved itself where the mechanism asks that of it.

    """

    __slots__ = ("done", "initial", "mechanism")

    def __init__(self, mechanism: Mechanism, initial: bytes | None, *, done: bool) -> None:
        self.mechanism = mechanism
        self.initial = initial
        self.done = done

    @abstractmethod
    def step(self, challenge: bytes, /) -> bytes:
        """Answer the decoded octets of a 334. SCRAM's first takes milliseconds of CPU, at most half a second.

        Raises:
            LoginBroken: they are malformed, or prove that the server does not know the password.

        """

    def finish(self, _text: str, /) -> None:
        """Take the text of 235, which is not to be believed before this has returned.

        Raises:
            LoginBroken: it came too early: the server has not proved itself.

        """
        if not self.done:
            raise self._broken("the server says 235 before the exchange is over; it has proved nothing")

    def _broken(self, message: str) -> LoginBroken:
        return LoginBroken(f"{self.mechanism.wire}: {message}")


class _Answers(ClientMechanism):
    """Answers that are known ahead, whatever the challenges are."""

    __slots__ = ("_answers",)

    def __init__(self, mechanism: Mechanism, initial: bytes | None, *answers: bytes) -> None:
        super().__init__(mechanism, initial, done=not answers)
        self._answers = list(answers)

    def step(self, _: bytes, /) -> bytes:
        if not self._answers:
            raise self._broken("a challenge where none is due")
        answer = self._answers.pop(0)
        self.done = not self._answers
        return answer


class _Bearer(ClientMechanism):
    """A token; the one challenge that may follow tells an error, and is answered for 535 to come."""

    __slots__ = ("_acknowledgement",)

    def __init__(self, mechanism: Mechanism, initial: bytes, acknowledgement: bytes) -> None:
        super().__init__(mechanism, initial, done=True)
        self._acknowledgement = acknowledgement

    def step(self, _: bytes, /) -> bytes:
        if not self.done:
            raise self._broken("a challenge behind an error")
        self.done = False  # a 235 behind an error would be a lie
        return self._acknowledgement


class _CramMD5(ClientMechanism):
    """A digest of the challenge, keyed by the password (RFC 2195 2)."""

    __slots__ = ("_password", "_username")

    def __init__(self, username: str, password: str) -> None:
        super().__init__(Mechanism.CRAM_MD5, None, done=False)
        self._username = username
        self._password = password

    def step(self, challenge: bytes, /) -> bytes:
        if self.done or not challenge:  # without a challenge the digest would be good for ever
            raise self._broken("expected one challenge, and something in it")
        self.done = True
        digest = hmac.new(self._password.encode(), challenge, "md5").hexdigest()
        return f"{self._username} {digest}".encode()


class _Scram(ClientMechanism):
    """Each side proves that it knows the password, and shows it to nobody (RFC 5802)."""

    __slots__ = ("_client", "_take")

    def __init__(self, mechanism: Mechanism, client: ScramClient) -> None:
        super().__init__(mechanism, client.get_client_first().encode(), done=False)
        self._client = client
        self._take: Callable[[str], str] = self._server_first

    def step(self, challenge: bytes, /) -> bytes:
        from scramp import ScramException

        take, self._take = self._take, self._nothing
        try:
            message = challenge.decode()
            # An error of the server is acknowledged, for its 535 to come.
            return b"" if message.startswith("e=") else take(message).encode()
        except UnicodeDecodeError:
            raise self._broken("the server's message is not UTF-8") from None
        except ScramException as error:
            raise self._broken(error.args[0]) from None

    def finish(self, text: str, /) -> None:
        # RFC 4954 4 has the server's proof in a last 334; some put it, in base64, into the text of 235.
        for word in () if self.done else text.split():
            with suppress(ValueError):
                proof = b64decode(word, validate=True)
                if proof.startswith(b"v="):
                    self.step(proof)
                    break
        super().finish(text)

    def _server_first(self, message: str) -> str:
        self._client.set_server_first(message)
        if int(self._client.iterations) > _MAX_ITERATIONS:
            raise self._broken(f"the server asks for more than {_MAX_ITERATIONS:,} iterations")
        self._take = self._server_final
        return str(self._client.get_client_final())

    def _server_final(self, message: str) -> str:
        self._client.set_server_final(message)
        self.done = True
        return ""

    def _nothing(self, _: str) -> str:
        raise self._broken("a challenge where none is due")


_MAX_ITERATIONS: Final = 1_000_000  # of PBKDF2: a third of a second; OWASP advises 600,000


def client_mechanism(
    mechanism: Mechanism,
    username: str,
    secret: str,
    *,
    offered: Collection[str],
    certificate: bytes | None = None,
    host: str = "",
    port: int = 0,
) -> ClientMechanism:
    """Begin an exchange.

    Args:
        mechanism: which one, as `choose_mechanism` has it.
        username: who logs in.
        secret: the password; for XOAUTH2 and OAUTHBEARER the token.
        offered: what the server offers: names on the wire.
        certificate: the server's certificate (DER) where the connection is TLS.
        host: where the connection goes to, for OAUTHBEARER (RFC 7628 3.1); "" leaves it out.
        port: likewise; 0 leaves it out.

    Raises:
        ConfigurationError: the mechanism cannot carry this user name, password or token.

    """
    _check(username, secret)
    match mechanism:
        case Mechanism.PLAIN:
            return _Answers(mechanism, f"\0{username}\0{secret}".encode())
        case Mechanism.LOGIN:
            return _Answers(mechanism, None, username.encode(), secret.encode())
        case Mechanism.CRAM_MD5:
            return _CramMD5(username, secret)
        case Mechanism.XOAUTH2:
            _check_token(secret)
            return _Bearer(mechanism, f"user={username}\1auth=Bearer {secret}\1\1".encode(), b"")
        case Mechanism.OAUTHBEARER:
            _check_token(secret)
            name = username.replace("=", "=3D").replace(",", "=2C")
            where = (f"host={host}\1" if host else "") + (f"port={port}\1" if port else "")
            return _Bearer(mechanism, f"n,a={name},\1{where}auth=Bearer {secret}\1\1".encode(), b"\1")
        case Mechanism.SCRAM_SHA_256 | Mechanism.SCRAM_SHA_256_PLUS:
            return _Scram(mechanism, _scram_client(mechanism, username, secret, offered, certificate))


def _check(username: str, secret: str) -> None:
    try:
        (username + secret).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            "a user name or password is text: decode it without surrogateescape"
        ) from None
    if not username or any(c < " " or c == "\x7f" for c in username):
        raise ConfigurationError("a user name is not empty and has no control characters")
    if any(c in secret for c in "\0\r\n"):
        raise ConfigurationError("a password has no NUL, CR or LF: strip it where it comes from a file")


def _check_token(token: str) -> None:
    if not re.fullmatch("[!-~]+", token):
        raise ConfigurationError(
            "a token is printable ASCII without spaces: strip it where it comes from a file"
        )


def _scram_client(
    mechanism: Mechanism, username: str, password: str, offered: Collection[str], certificate: bytes | None
) -> ScramClient:
    from scramp import ScramClient, ScramException

    # scramp says "p" where it binds, "y" where it could but the server does not offer it (a server that does
    # knows it for an attack), "n" where it cannot or may not (RFC 5802 6).
    plus = Mechanism.SCRAM_SHA_256_PLUS
    binding = None
    if certificate is not None and (mechanism is plus or plus not in _spoken(offered)):
        binding = _end_point(certificate)
    if mechanism is plus and binding is None:
        raise ConfigurationError(
            f"{plus.wire} needs TLS, and a certificate signed over a hash: use Mechanism.SCRAM_SHA_256"
        )
    try:
        return ScramClient(
            [mechanism.wire], username, password, binding and ("tls-server-end-point", binding)
        )
    except ScramException as error:
        raise ConfigurationError(
            f"SCRAM cannot carry this user name or password ({error.args[0]}): give another mechanism"
        ) from None


def _end_point(certificate: bytes) -> bytes | None:
    """Return tls-server-end-point: the certificate's hash (RFC 5929 4.1); None where that is not defined."""
    from asn1crypto.x509 import Certificate

    try:
        parsed = Certificate.load(certificate, strict=True)
        # They hash inside the signature, by no algorithm that the RFC could name.
        if parsed.signature_algo in {"ed25519", "ed448"}:
            return None
        weak = parsed.hash_algo in {"md5", "sha1"}
        return hashlib.new("sha256" if weak else parsed.hash_algo, certificate).digest()
    except ValueError:  # an algorithm that asn1crypto or hashlib does not know
        return None


# Which one

_WITH_PASSWORD: Final[tuple[Mechanism, ...]] = (  # the strongest first
    Mechanism.SCRAM_SHA_256_PLUS,
    Mechanism.SCRAM_SHA_256,
    Mechanism.CRAM_MD5,
    Mechanism.PLAIN,
    Mechanism.LOGIN,
)
_WITH_TOKEN: Final[tuple[Mechanism, ...]] = (Mechanism.OAUTHBEARER, Mechanism.XOAUTH2)
_UNASKED: Final = frozenset(Mechanism) - {Mechanism.CRAM_MD5}  # who listens guesses fast: it is one MD5
_SHOW_NO_SECRET: Final = {Mechanism.SCRAM_SHA_256_PLUS, Mechanism.SCRAM_SHA_256, Mechanism.CRAM_MD5}


def choose_mechanism(
    offered: Collection[str],
    *,
    token: bool = False,
    tls: bool,
    certificate: bytes | None = None,
    allowed: Collection[Mechanism] | None = None,
    cleartext: bool = False,
) -> Mechanism:
    """Return the strongest mechanism that both sides know.

    Args:
        offered: what the server offers: names on the wire.
        token: there is a token; else there is a password.
        tls: the connection is TLS.
        certificate: the server's certificate (DER) where the connection is TLS.
        allowed: the mechanisms to choose from; None is all but CRAM-MD5.
        cleartext: password and token may be shown to who listens, where the connection is not TLS.

    Raises:
        NotOffered: there is none; the message says what to change.

    """
    spoken = _spoken(offered)
    fitting = [mechanism for mechanism in (_WITH_TOKEN if token else _WITH_PASSWORD) if mechanism in spoken]
    permitted = [
        mechanism for mechanism in fitting if mechanism in (_UNASKED if allowed is None else allowed)
    ]
    for mechanism in permitted:
        if mechanism is Mechanism.SCRAM_SHA_256_PLUS:
            usable = certificate is not None and _end_point(certificate) is not None
        else:
            usable = tls or cleartext or mechanism in _SHOW_NO_SECRET
        if usable:
            return mechanism
    if not offered:
        behind = "" if tls else "log in behind TLS (smtps:// or smtp+starttls://), or "
        mend = f"{behind}leave out the user name"
    elif permitted and not tls:
        mend = "not in the clear: use smtps:// or smtp+starttls://, or say cleartext_auth=True"
    elif fitting and not permitted:
        mend = f"allow it: mechanisms=[{', '.join(f'Mechanism.{each.name}' for each in fitting)}]"
    elif spoken.intersection(_WITH_PASSWORD if token else _WITH_TOKEN):
        mend = "give a password" if token else "give a token"
    else:
        mend = f"smtpx, which speaks {', '.join(each.wire for each in Mechanism)}, can use none of it here"
    raise NotOffered("AUTH", f"no way to log in: the server offers {', '.join(offered) or 'no AUTH'}; {mend}")


def _spoken(offered: Collection[str]) -> set[Mechanism]:
    return {mechanism for name in offered if (mechanism := Mechanism.from_wire(name))}
