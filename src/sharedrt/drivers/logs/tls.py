"""Syslog over TLS (RFC 5425)."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sharedrt.drivers.names import addresses, numeric
from sharedrt.model.drivers import LogLine
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import SyslogTls

WRITE_S: Final = 30.0


async def connect_tls(
    what: str, host: str, port: int, tls: SyslogTls
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose other side has shown who it is. Raises Unavailable, also for a file that cannot be used."""
    context = await asyncio.to_thread(_context, what, tls)
    try:
        return await _connect(host, port, context)
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(what, f"{host}:{port}: {error.verify_message}") from error
    except OSError as error:
        raise Unavailable(what, f"{host}:{port}: {error.strerror or error}") from error


async def _connect(
    host: str, port: int, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first of its addresses that can be reached. Raises OSError."""
    unreachable = OSError("it has no address")
    for *_, place in await addresses(host, port, socket.SOCK_STREAM):
        try:
            return await asyncio.open_connection(
                numeric(place), port, ssl=context, server_hostname=host
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            unreachable = error
    raise unreachable


class TlsSink:
    """One message a line, each framed as ``frame`` has it."""

    def __init__(
        self,
        what: str,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        frame: Callable[[LogLine], bytes],
    ) -> None:
        self._what, self._frame = what, frame
        self._reader, self._writer = connection

    async def send(self, lines: Sequence[LogLine]) -> None:
        if self._reader.at_eof():  # what is written now would vanish
            raise Unavailable(self._what, "the connection was closed")
        try:
            self._writer.write(b"".join(map(self._frame, lines)))
            async with asyncio.timeout(WRITE_S):
                await self._writer.drain()
        except TimeoutError as error:
            raise Unavailable(self._what, "does not take what is sent") from error
        except OSError as error:
            raise Unavailable(self._what, error.strerror or str(error)) from error

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(WRITE_S):
                await self._writer.wait_closed()


def _context(what: str, tls: SyslogTls) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        with _named(what, tls.ca):
            context.load_verify_locations(tls.ca)
    if tls.certificate or tls.key:
        with _named(what, tls.certificate):
            context.load_cert_chain(tls.certificate, tls.key)
    return context


@contextlib.contextmanager
def _named(what: str, file: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(what, f"could not use {file}: {error}") from error
