"""Taking log lines to syslog or the journal (:class:`sharedrt.model.drivers.LogForwarder`)."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sharedrt.aio.completion import complete
from sharedrt.drivers.logs.tls import TlsSink, connect_tls
from sharedrt.drivers.names import addresses
from sharedrt.model.drivers import ForwardTarget, LogLine, LogSink
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import LogTransport
from sharedrt.wire.journal import field_name, journal_entry
from sharedrt.wire.syslog import ERROR, INFO, syslog_message

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
SYSLOG_SOCKETS: Final = (Path("/dev/log"), Path("/var/run/syslog"), Path("/var/run/log"))

TLS_SCHEME: Final = "tcp+tls"
_CONNECT_S: Final = 10.0
_WRITE_S: Final = 30.0
_STDERR: Final = 2
_WHAT: Final = "failed to initialize logging driver"

Encode = Callable[[LogLine], bytes]


class HostLogForwarder:
    """Implements LogForwarder.

    Args:
        journal: the journal's socket.
        syslogs: where the host's own syslog may listen.
    """

    def __init__(
        self, journal: Path = JOURNAL_SOCKET, syslogs: Sequence[Path] = SYSLOG_SOCKETS
    ) -> None:
        self._journal = journal
        self._syslogs = syslogs

    @asynccontextmanager
    async def open(self, target: ForwardTarget) -> AsyncIterator[LogSink]:
        forward = target.forward
        journal = forward.transport is LogTransport.JOURNALD
        encode = journal_encoder(target) if journal else syslog_encoder(target)
        if forward.address.startswith(f"{TLS_SCHEME}://"):
            async with self._over_tls(target, encode) as over_tls:
                yield over_tls
            return
        try:
            async with asyncio.timeout(_CONNECT_S):
                connected = await (self._to_journal() if journal else self._to_syslog(target))
        except TimeoutError as error:
            raise Unavailable(_WHAT, "the connection timed out") from error
        try:
            yield _Sink(connected, encode)
        finally:
            connected.close()

    @asynccontextmanager
    async def _over_tls(self, target: ForwardTarget, encode: Encode) -> AsyncIterator[LogSink]:
        forward = target.forward
        parts = urlsplit(forward.address)
        try:
            async with asyncio.timeout(_CONNECT_S):
                connection = await connect_tls(
                    _WHAT, parts.hostname or "", parts.port or 0, forward.tls
                )
        except TimeoutError as error:
            raise Unavailable(_WHAT, "the connection timed out") from error
        counted = forward.format.startswith("rfc5424")
        sink = TlsSink(_WHAT, connection, _counted(encode) if counted else encode)
        try:
            yield sink
        finally:
            await complete(sink.close())

    async def _to_journal(self) -> socket.socket:
        if not self._journal.exists():
            raise Unavailable(_WHAT, "journald is not enabled on this host")
        return await _connect(socket.AF_UNIX, socket.SOCK_DGRAM, str(self._journal))

    async def _to_syslog(self, target: ForwardTarget) -> socket.socket:
        address = target.forward.address
        if not address:
            for path in self._syslogs:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    try:
                        return await _connect(socket.AF_UNIX, kind, str(path))
                    except Unavailable:
                        continue
            raise Unavailable(_WHAT, "Unix syslog delivery error")
        parts = urlsplit(address)
        kind = socket.SOCK_DGRAM if parts.scheme in ("udp", "unixgram") else socket.SOCK_STREAM
        if parts.scheme.startswith("unix"):
            return await _connect(socket.AF_UNIX, kind, parts.path)
        try:
            found = await addresses(parts.hostname, parts.port, kind)
        except OSError as error:
            raise Unavailable(_WHAT, f"{address}: {error.strerror}") from error
        family, _, _, _, place = found[0]
        return await _connect(family, kind, place)


async def _connect(family: int, kind: int, place: Any) -> socket.socket:
    """Raises Unavailable."""
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(made, place)
    except OSError as error:
        made.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(_WHAT, f"{place}: {reason}") from error
    except BaseException:
        made.close()
        raise
    return made


class _Sink:
    """A connection: a datagram a line, or a stream of them."""

    def __init__(self, connected: socket.socket, encode: Encode) -> None:
        self._socket, self._encode = connected, encode
        self._stream = connected.type == socket.SOCK_STREAM

    async def send(self, lines: Sequence[LogLine]) -> None:
        loop = asyncio.get_running_loop()
        messages = [self._encode(line) for line in lines]
        try:
            async with asyncio.timeout(_WRITE_S):
                if self._stream:
                    await loop.sock_sendall(self._socket, b"".join(messages))
                else:
                    for message in messages:
                        await loop.sock_sendall(self._socket, message)
        except TimeoutError as error:
            raise Unavailable(_WHAT, "does not take what is sent") from error
        except OSError as error:
            raise Unavailable(_WHAT, error.strerror or str(error)) from error


def _counted(encode: Encode) -> Encode:
    """With its length in front: RFC 5425 section 4.3, as dockerd does for these formats alone."""

    def framed(line: LogLine) -> bytes:
        message = encode(line)
        return b"%d %s" % (len(message), message)

    return framed


def syslog_encoder(target: ForwardTarget) -> Encode:
    """Lines as syslog messages of the daemon's process."""
    hostname, pid = socket.gethostname(), os.getpid()
    forward = target.forward

    def encode(line: LogLine) -> bytes:
        return syslog_message(
            forward.format,
            facility=forward.facility,
            severity=ERROR if line.stream == _STDERR else INFO,
            time_ns=line.time_ns,
            hostname=hostname,
            tag=target.tag,
            pid=pid,
            text=line.data,
        )

    return encode


def journal_encoder(target: ForwardTarget) -> Encode:
    """Lines as entries with dockerd's fields."""
    fixed: dict[str, str | bytes] = {
        "CONTAINER_ID": target.id[:12],
        "CONTAINER_ID_FULL": target.id,
        "CONTAINER_NAME": target.name,
        "CONTAINER_TAG": target.tag,
        "IMAGE_NAME": target.image,
        "SYSLOG_IDENTIFIER": target.tag,
    }
    for name, value in target.forward.fields.items():
        if known := field_name(name):
            fixed[known] = value

    def encode(line: LogLine) -> bytes:
        entry: dict[str, str | bytes] = {
            "PRIORITY": str(ERROR if line.stream == _STDERR else INFO),
            **fixed,
            "MESSAGE": line.data,
        }
        if line.partial:
            entry["CONTAINER_PARTIAL_MESSAGE"] = "true"
        return journal_entry(entry)

    return encode
