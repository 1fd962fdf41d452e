"""TLS: the server's certificate, checked before it is used and read again without a restart.

Two things differ from a plain connection. TLS ends both ways at once: a client that says it sends no more is not
answered any more (`can_write_eof` is False, and what eof_received returns changes nothing). And a connection that is
closed lingers until its client has said goodbye, too; many say it only when they next use the connection.
"""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import sys
import termios
from pathlib import Path

from synap.config import UnusableSetting

HANDSHAKE_SECS_MAX = 10.0
GOODBYE_SECS_MAX = 1.0


def trusting(file: str) -> ssl.SSLContext | bool:
    """What certificates of other servers to trust: those in the file if one is named. Raises UnusableSetting."""
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise UnusableSetting("replication.tls_ca", f"{file} cannot be read: {error.strerror or error}") from None


class BadCertificate(UnusableSetting):
    """A file that cannot be used."""

    def __init__(self, key: str, file: Path, reason: str) -> None:
        super().__init__(key, f"{file}: {reason}")


class Certificate:
    """A certificate chain and its private key, in two PEM files. Raises BadCertificate."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self.context = self._loaded()

    def renew(self) -> None:
        """Read both files again, for connections to come. Raises BadCertificate; what was in use then stays so."""
        self._loaded()  # a context that refuses new files has lost the old ones
        self._load_into(self.context)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        self._check_certificate()
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._cert, self._key, password=self._refuse_to_decrypt)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = f"the key does not belong to the certificate in {self._cert}"
            else:
                reason = f"expected the PEM private key of the certificate in {self._cert}: {_told(error)}"
            raise BadCertificate("server.tls_key", self._key, reason) from None
        except OSError as error:
            raise BadCertificate("server.tls_key", self._key, _told(error)) from None

    def _check_certificate(self) -> None:
        """load_cert_chain does not say which of the two files it means."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._cert)
        except ssl.SSLError as error:
            reason = f"expected a PEM certificate chain: {_told(error)}"
            raise BadCertificate("server.tls_cert", self._cert, reason) from None
        except OSError as error:
            raise BadCertificate("server.tls_cert", self._cert, _told(error)) from None

    def _refuse_to_decrypt(self) -> str:
        raise BadCertificate("server.tls_key", self._key, "the key is encrypted; expected one without a passphrase")


def close(transport: asyncio.Transport) -> None:
    """Close a connection, TLS or not. Once all has reached the client, its goodbye is not waited for long."""
    transport.close()
    if not transport.can_write_eof():
        asyncio.get_running_loop().call_later(GOODBYE_SECS_MAX, _cut, transport)


def _cut(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is None:  # it has said goodbye
        return
    if _is_on_its_way(connection.fileno()):
        asyncio.get_running_loop().call_later(GOODBYE_SECS_MAX, _cut, transport)
    else:
        transport.abort()


def _is_on_its_way(connection: int) -> bool:
    """Whether the client's system has yet to acknowledge something; the transport does not tell how much it holds."""
    try:
        unacknowledged = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    except OSError:  # not every system knows it for sockets
        return True
    return int.from_bytes(unacknowledged, sys.byteorder) > 0


def _told(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return error.strerror or str(error)
