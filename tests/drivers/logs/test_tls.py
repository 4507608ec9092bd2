"""Syslog over TLS to a real listener."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sharedrt.drivers.logs import HostLogForwarder
from sharedrt.model.drivers import ForwardTarget, LogLine
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import LogForward, LogTransport, SyslogTls
from tests.wire.test_tls import certificate as certificate

Certificate = tuple[Path, Path]
OUT = LogLine(0, 1, b"out", False)
ERR = LogLine(0, 2, b"err\xff", False)


@asynccontextmanager
async def listener(
    certificate: Certificate, *, mutual: bool = False
) -> AsyncIterator[tuple[int, "asyncio.Queue[bytes]"]]:
    """Its port, and all that each connection has brought by its end."""
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate[0])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def target(port: int, tls: SyslogTls, form: str = "", host: str = "localhost") -> ForwardTarget:
    address = f"tcp+tls://{host}:{port}"
    forward = LogForward(LogTransport.SYSLOG, "t", address, format=form, tls=tls)
    return ForwardTarget(forward, "c" * 64, "web", "busybox", "the-tag")


@pytest.mark.parametrize("form", ["", "rfc3164"])
async def test_a_line_a_message(certificate: Certificate, form: str) -> None:
    async with listener(certificate) as (port, received):
        tls = SyslogTls(ca=str(certificate[0]))
        async with HostLogForwarder().open(target(port, tls, form)) as sink:
            await sink.send([OUT])
            await sink.send([ERR, OUT])
        data = await received.get()
    assert [m.rpartition(b" ")[2] for m in data.splitlines()] == [b"out", b"err\xff", b"out"]
    assert data.startswith(b"<30>")


@pytest.mark.parametrize("form", ["rfc5424", "rfc5424micro"])
async def test_newer_formats_count_their_bytes(certificate: Certificate, form: str) -> None:
    async with listener(certificate, mutual=True) as (port, received):
        shown, key = map(str, certificate)
        tls = SyslogTls(shown, shown, key)
        async with HostLogForwarder().open(target(port, tls, form)) as sink:
            await sink.send([OUT, ERR])
        data = await received.get()
    messages = []
    while data:
        size, _, rest = data.partition(b" ")
        messages.append(rest[: int(size)])
        data = rest[int(size) :]
    assert [m.rpartition(b" ")[2] for m in messages] == [b"out\n", b"err\xff\n"]
    assert messages[1].startswith(b"<27>1 1970-01-01T00:00:00")
    assert b" the-tag %d the-tag - " % os.getpid() in messages[0]


async def test_who_is_not_trusted(certificate: Certificate, tmp_path: Path) -> None:
    async with listener(certificate) as (port, received):

        async def refused(tls: SyslogTls, host: str = "localhost") -> str:
            with pytest.raises(Unavailable) as caught:
                async with HostLogForwarder().open(target(port, tls, host=host)):
                    raise AssertionError("connected")
            return caught.value.reason

        ca = str(certificate[0])
        assert "self-signed" in await refused(SyslogTls())
        assert "127.0.0.1" in await refused(SyslogTls(ca=ca), "127.0.0.1")
        assert "No such file" in await refused(SyslogTls(ca=f"{tmp_path}/none"))
        assert f"{tmp_path}/none" in await refused(SyslogTls(ca, f"{tmp_path}/none", "x"))
        async with HostLogForwarder().open(target(port, SyslogTls(skip_verify=True))) as sink:
            await sink.send([OUT])
        while not (data := await received.get()):  # the refused ones brought nothing
            pass
    assert data.endswith(b": out\n")


async def test_who_goes_away_is_a_fault(certificate: Certificate) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()
        await writer.wait_closed()
        gone.set()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        tls = SyslogTls(ca=str(certificate[0]))
        async with HostLogForwarder().open(target(port, tls)) as sink:
            await sink.send([OUT])
            await gone.wait()

            async def keep_sending() -> None:
                while True:  # its going is seen when the loop has read it
                    await sink.send([OUT])
                    await asyncio.sleep(0)

            with pytest.raises(Unavailable):
                await asyncio.wait_for(keep_sending(), 60)
