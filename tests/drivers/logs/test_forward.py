"""Lines to real sockets: syslog's and the journal's, over datagrams and streams."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sharedrt.drivers.logs import HostLogForwarder
from sharedrt.model.drivers import ForwardTarget, LogLine
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import LogForward, LogTransport

OUT = LogLine(0, 1, b"out", False)
ERR = LogLine(0, 2, b"err\xff", True)
PID = os.getpid()


def target(transport: LogTransport, address: str = "", **fields: str) -> ForwardTarget:
    forward = LogForward(transport, "{{.ID}}", address, fields=fields)
    return ForwardTarget(forward, "c" * 64, "web", "busybox", "the-tag")


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(path))
    made.settimeout(5)
    return made


async def test_the_host_s_own_syslog(tmp_path: Path) -> None:
    forwarder = HostLogForwarder(syslogs=[tmp_path / "no", tmp_path / "log"])
    with listening(tmp_path / "log") as receiver:
        async with forwarder.open(target(LogTransport.SYSLOG)) as sink:
            await sink.send([OUT, ERR])
        first, second = receiver.recv(4096), receiver.recv(4096)
    assert first.startswith(b"<30>Jan  1 ")
    assert first.endswith(b" the-tag[%d]: out\n" % PID)
    assert second.startswith(b"<27>")
    assert second.endswith(b": err\xff\n")


async def test_a_stream_has_one_message_a_line() -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        HostLogForwarder().open(target(LogTransport.SYSLOG, f"tcp://127.0.0.1:{port}")) as sink,
    ):
        await sink.send([OUT, OUT])
        await sink.send([ERR])
    data = await received.get()
    assert [m.rpartition(b" ")[2] for m in data.splitlines()] == [b"out", b"out", b"err\xff"]


async def test_the_journal_s_fields(tmp_path: Path) -> None:
    forwarder = HostLogForwarder(journal=tmp_path / "journal")
    with listening(tmp_path / "journal") as receiver:
        made = target(LogTransport.JOURNALD, **{"com.example/x": "v", "_": "lost"})
        async with forwarder.open(made) as sink:
            await sink.send([ERR])
        fields = dict(f.split(b"=", 1) for f in receiver.recv(4096).splitlines())
    assert fields == {
        b"PRIORITY": b"3",
        b"CONTAINER_ID": b"c" * 12,
        b"CONTAINER_ID_FULL": b"c" * 64,
        b"CONTAINER_NAME": b"web",
        b"CONTAINER_TAG": b"the-tag",
        b"IMAGE_NAME": b"busybox",
        b"SYSLOG_IDENTIFIER": b"the-tag",
        b"COM_EXAMPLE_X": b"v",
        b"MESSAGE": b"err\xff",
        b"CONTAINER_PARTIAL_MESSAGE": b"true",
    }


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda _: target(LogTransport.JOURNALD), "journald is not enabled"),
        (lambda _: target(LogTransport.SYSLOG), "Unix syslog delivery error"),
        (lambda _: target(LogTransport.SYSLOG, "tcp://127.0.0.1:1"), "refused"),
        (lambda p: target(LogTransport.SYSLOG, f"unix://{p}/no"), "No such file"),
    ],
)
async def test_nobody_there(
    tmp_path: Path, made: Callable[[Path], ForwardTarget], words: str
) -> None:
    forwarder = HostLogForwarder(journal=tmp_path / "j", syslogs=[tmp_path / "s"])
    with pytest.raises(Unavailable, match=words):
        async with forwarder.open(made(tmp_path)):
            raise AssertionError("connected to nobody")


async def test_who_goes_away_is_a_fault(tmp_path: Path) -> None:
    forwarder = HostLogForwarder(syslogs=[tmp_path / "log"])
    with listening(tmp_path / "log") as receiver:
        async with forwarder.open(target(LogTransport.SYSLOG)) as sink:
            receiver.close()
            with pytest.raises(Unavailable):
                await sink.send([OUT])
