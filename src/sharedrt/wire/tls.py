"""The server's side of TLS: bytes in, bytes out, and a half-close that stays one.

RFC 8446, 6.1: a ``close_notify`` ends one direction only; the other side may go on writing. asyncio's and
uvloop's own TLS close both, which would cost ``docker run`` its output: the CLI half-closes as soon as it has
no input to send.
"""

import ssl
from typing import Final

_READ_BYTES: Final = 256 << 10


class TlsError(Exception):
    """The handshake failed, or the peer sent no TLS. The alert for the peer, if any, is still to be sent."""


class TlsServer:
    """One connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._handshaken = False
        self._eof = False

    @property
    def handshaken(self) -> bool:
        return self._handshaken

    @property
    def eof(self) -> bool:
        """The peer will send nothing more."""
        return self._eof

    @property
    def tls_object(self) -> ssl.SSLObject:
        return self._tls

    def receive_data(self, data: bytes) -> bytes:
        """Plain bytes out of what arrived. Raises TlsError."""
        self._incoming.write(data)
        if not self._handshaken and not self._shake_hands():
            return b""
        parts: list[bytes] = []
        try:
            while chunk := self._tls.read(_READ_BYTES):
                parts.append(chunk)
            self._eof = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._eof = True
        except ssl.SSLError as error:
            raise TlsError(str(error)) from error
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt; take the result from :meth:`data_to_send`. Raises TlsError."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise TlsError(str(error)) from error

    def send_eof(self) -> None:
        """Say that nothing more will come from here (close_notify)."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            return  # it waits for the peer's own, which we do not

    def data_to_send(self) -> bytes:
        """Encrypted bytes for the peer."""
        return self._outgoing.read()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(str(error)) from error
        self._handshaken = True
        return True
