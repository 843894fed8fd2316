"""TLS contexts of clients and servers, whether one can shake hands at all, and the words of a failure."""

from __future__ import annotations

import os
import ssl

from smtpx.errors import ConfigurationError, TLSFailed

__all__ = ["client_context", "handshake_failed", "server_context", "usable", "words_of"]


def server_context(cert: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Make a context of a PEM certificate chain and its private key (in the same file where None).

    TLS 1.2 is the oldest spoken (RFC 8996).

    Raises:
        ConfigurationError: a file cannot be read, is no PEM, or the key is not the certificate's.

    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Never ask for a pass phrase on a terminal: a server has nobody to answer.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        pair = os.fspath(cert) if key is None else f"{os.fspath(cert)} with key {os.fspath(key)}"
        reason = error.strerror or error if isinstance(error, OSError) else error
        mend = "give a PEM chain and the unencrypted key that belongs to it"
        if isinstance(error, PermissionError):
            mend = "let this user read them (chown, chmod), or run as the user whose they are"
        raise ConfigurationError(f"cannot use certificate {pair}: {reason}; {mend}") from error
    return context


def client_context(*, verify: bool) -> ssl.SSLContext:
    """Make a client's context: the system's certificates are trusted or, without ``verify``, any is taken."""
    if verify:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # spared the reading of many files
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def usable(context: ssl.SSLContext) -> bool:
    """Shake hands with ourselves in memory, before a context without a certificate fails at each client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context(verify=False).wrap_bio(to_client, to_server)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            # A context that asks for a client certificate got as far as its own could take it.
            return context.verify_mode is not ssl.CERT_NONE
    return True


def words_of(error: ssl.SSLError) -> str:
    """Return what is wrong, in words for a user, without the numbers of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not to be trusted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()


def handshake_failed(where: object, error: OSError | ValueError) -> TLSFailed:
    """Return what to raise where a client's handshake failed so; `where` is the server."""
    if isinstance(error, ssl.SSLError):
        return TLSFailed(f"{where}: {words_of(error)}")
    return TLSFailed(f"{where}: the TLS handshake failed: {str(error) or type(error).__name__}")
