"""TLS under a :class:`~sharedrt.edges.docker.gate.ConnectionGate`, with real half-closes (see ``wire/tls``)."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import structlog

from sharedrt.wire.tls import TlsError, TlsServer

log = structlog.get_logger(__name__)

_HANDSHAKE_TIMEOUT_S: Final = 30.0


class TlsProtocol(asyncio.Protocol):
    """Decrypts for the inner protocol, which sees a transport of plain bytes after the handshake."""

    def __init__(self, context: ssl.SSLContext, make_inner: Callable[[], asyncio.Protocol]) -> None:
        self._context = context
        self._tls = TlsServer(context)
        self._make_inner = make_inner
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._told_eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(_HANDSHAKE_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        try:
            plain = self._tls.receive_data(data)
        except TlsError as error:
            log.info("TLS failed", peer=transport.get_extra_info("peername"), reason=str(error))
            transport.write(self._tls.data_to_send())
            transport.close()
            return
        if pending := self._tls.data_to_send():
            transport.write(pending)
        if self._inner is None and self._tls.handshaken:
            self._begin(transport)
        if self._inner is None:
            return
        if plain:
            self._inner.data_received(plain)
        if self._tls.eof:
            self._tell_eof()

    def _begin(self, transport: asyncio.Transport) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._inner = self._make_inner()
        inner = _PlainTransport(transport, self._tls, self._context, self._inner)
        self._inner.connection_made(inner)

    def eof_received(self) -> bool:
        """The TCP stream ended: without close_notify it was cut, which for us is the same end of input."""
        return self._inner is not None and self._tell_eof()

    def _tell_eof(self) -> bool:
        """Whether the connection stays open for writing."""
        if self._told_eof or self._inner is None:
            return True
        self._told_eof = True
        keep = bool(self._inner.eof_received())
        if not keep and self._transport is not None:
            self._transport.close()
        return keep

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)


class _PlainTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(
        self,
        raw: asyncio.Transport,
        tls: TlsServer,
        context: ssl.SSLContext,
        protocol: asyncio.BaseProtocol,
    ) -> None:
        super().__init__({"sslcontext": context, "ssl_object": tls.tls_object})
        self._raw = raw
        self._tls = tls
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own = super().get_extra_info(name)
        return self._raw.get_extra_info(name, default) if own is None else own

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data or self._raw.is_closing():
            return
        try:
            self._tls.send(bytes(data))
        except TlsError as error:
            log.info("TLS failed", reason=str(error))
            self._raw.abort()
            return
        self._raw.write(self._tls.data_to_send())

    def writelines(self, list_of_data: "Iterable[bytes | bytearray | memoryview]") -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._raw.is_closing():
            self._tls.send_eof()
            self._raw.write(self._tls.data_to_send())
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._tls.send_eof()
        self._raw.write(self._tls.data_to_send())

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
