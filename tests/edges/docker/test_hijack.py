"""Hijacked connections over a real socket: upgrade, bare, early bytes, half-close, detach, lost clients."""

import asyncio
import socket

import pytest

from sharedrt.model.drivers import LogLine
from sharedrt.model.stdio import StdStream
from sharedrt.wire.docker_stream import StreamDecoder, encode_frame
from tests.edges.docker.conftest import DoorUnderTest, until
from tests.edges.docker.fakes import FakeStdio, start_failed

ALL = "stream=1&stdin=1&stdout=1&stderr=1"
UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def request(path: str, headers: str = "", body: bytes = b"") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: docker\r\n{headers}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def read_head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def test_upgrade_then_both_ways(door: DoorUnderTest) -> None:
    id = await door.create(OpenStdin=True, StdinOnce=True)
    reader, writer = await door.open()
    writer.write(request(f"/v1.51/containers/{id}/attach?{ALL}", UPGRADE))
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
    assert "Upgrade: tcp\r\n" in head
    assert "application/vnd.docker.multiplexed-stream" in head
    session = door.runtime.containers.session
    writer.write(b"hello")
    await until(lambda: session.written == b"hello")
    session.output.put_nowait((StdStream.STDERR, b"oops"))
    assert await reader.readexactly(12) == encode_frame(2, b"oops")
    writer.write_eof()
    await until(lambda: session.stdin_closed)
    session.output.put_nowait((StdStream.STDOUT, b"after the half-close"))
    session.output.put_nowait(None)
    assert await reader.read() == encode_frame(1, b"after the half-close")
    assert session.closed
    writer.close()


async def test_bare_hijack_with_bytes_right_behind_the_request(door: DoorUnderTest) -> None:
    id = await door.create(OpenStdin=True, StdinOnce=True)
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?{ALL}") + b"POST early bytes\r\n\r\n")
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    session = door.runtime.containers.session
    await until(lambda: len(session.written) >= 20)
    assert session.written == b"POST early bytes\r\n\r\n"
    session.output.put_nowait(None)
    assert await reader.read() == b""
    writer.close()


async def test_on_a_connection_that_was_used_before(door: DoorUnderTest) -> None:
    id = await door.create(OpenStdin=True)
    reader, writer = await door.open()
    for _ in range(2):
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        await read_head(reader)
        assert await reader.readexactly(2) == b"OK"
    writer.write(request(f"/containers/{id}/attach?{ALL}", UPGRADE) + b"x")
    assert "101 UPGRADED" in await read_head(reader)
    door.runtime.containers.session.output.put_nowait(None)
    assert await reader.read() == b""
    assert door.runtime.containers.session.written == b"x"
    writer.close()


async def test_a_refused_hijack_keeps_the_connection_http(door: DoorUnderTest) -> None:
    reader, writer = await door.open()
    ping = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
    writer.write(request("/containers/nope/attach?stream=1", UPGRADE) + ping)
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 404")
    assert b"No such container: nope" in await reader.readuntil(b"}")
    assert (await read_head(reader)).startswith("HTTP/1.1 200")
    assert await reader.readexactly(2) == b"OK"
    writer.close()


async def test_five_megabytes_there_and_back(door: DoorUnderTest) -> None:
    session = door.runtime.containers.session = FakeStdio(echo=True)
    id = await door.create(OpenStdin=True, StdinOnce=True)
    data = bytes(range(256)) * 20_000
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?{ALL}", UPGRADE))
    await read_head(reader)

    async def send() -> None:
        for start in range(0, len(data), 65_536):
            writer.write(data[start : start + 65_536])
            await writer.drain()
        writer.write_eof()

    decoder, got = StreamDecoder(), bytearray()
    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        while chunk := await reader.read(65_536):
            for frame in decoder.receive_data(chunk):
                got += frame.payload
    decoder.receive_eof()
    assert got == data
    assert session.stdin_closed
    writer.close()


async def test_a_terminal_has_no_frames_and_detach_keys(door: DoorUnderTest) -> None:
    session = door.runtime.containers.session = FakeStdio(tty=True)
    id = await door.create(Tty=True, OpenStdin=True)
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?{ALL}", UPGRADE))
    assert "application/vnd.docker.raw-stream" in await read_head(reader)
    session.output.put_nowait((StdStream.STDOUT, b"$ "))
    assert await reader.readexactly(2) == b"$ "
    writer.write(b"ls\r\x10")
    writer.write(b"\x11never sent")
    assert await reader.read() == b""
    assert session.written == b"ls\r"
    actions = [action for _, action, _, _ in door.runtime.events.published]
    assert actions == ["attach", "detach"]
    writer.close()


async def test_end_of_input_without_stdin_once_ends_the_attach(door: DoorUnderTest) -> None:
    id = await door.create(OpenStdin=True)
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?{ALL}", UPGRADE))
    await read_head(reader)
    writer.write_eof()
    assert await reader.read() == b""
    assert not door.runtime.containers.session.stdin_closed
    writer.close()


async def test_a_client_without_input_may_half_close_at_once(door: DoorUnderTest) -> None:
    id = await door.create()
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?stream=1&stdout=1", UPGRADE))
    writer.write_eof()
    await read_head(reader)
    session = door.runtime.containers.session
    session.output.put_nowait((StdStream.STDERR, b"not asked for"))
    session.output.put_nowait((StdStream.STDOUT, b"late"))
    session.output.put_nowait(None)
    assert await reader.read() == encode_frame(1, b"late")
    writer.close()


async def test_a_client_that_goes_away_lets_go_of_the_session(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharedrt.edges.docker.gate._HANG_UP_POLL_S", 0.01)
    id = await door.create()
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?stream=1&stdout=1", UPGRADE))
    await read_head(reader)
    writer.write_eof()
    await asyncio.sleep(0.05)
    assert not door.runtime.containers.session.closed
    writer.transport.abort()
    async with asyncio.timeout(60):
        await until(lambda: door.runtime.containers.session.closed)


async def test_exec_with_a_body_and_early_input(door: DoorUnderTest) -> None:
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    _, made, _ = await door.call(
        "POST",
        f"/containers/{id}/exec",
        {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True},
    )
    reader, writer = await door.open()
    body = b'{"Detach":false,"Tty":false}'
    writer.write(request(f"/v1.41/exec/{made['Id']}/start", UPGRADE, body) + b"typed")
    writer.write_eof()
    assert "raw-stream" in await read_head(reader)
    assert await reader.read() == encode_frame(1, b"typed")
    assert (await door.call("GET", f"/exec/{made['Id']}/json"))[1]["ExitCode"] == 0
    writer.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("pause", "is paused, unpause the container before exec"),
        ("kill", "is not running"),
    ],
)
async def test_hijack_needs_a_container_that_runs(
    door: DoorUnderTest, change: str, words: str
) -> None:
    """An exec that was made before is refused while a status can still say so, attached or not."""
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    _, made, _ = await door.call("POST", f"/containers/{id}/exec", {"Cmd": ["cat"]})
    await door.call("POST", f"/containers/{id}/{change}")
    for body in ({}, {"Detach": True}):
        status, value, _ = await door.call("POST", f"/exec/{made['Id']}/start", body)
        assert (status, value["message"]) == (409, f"container {id} {words}")


async def test_exec_of_a_missing_command_is_told_in_the_stream(door: DoorUnderTest) -> None:
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    _, made, _ = await door.call("POST", f"/containers/{id}/exec", {"Cmd": ["nope"]})
    door.runtime.execs.start_fault = start_failed()
    reader, writer = await door.open()
    writer.write(request(f"/exec/{made['Id']}/start", UPGRADE, b"{}"))
    await read_head(reader)
    decoder = StreamDecoder()
    ((stream, said),) = ((f.stream, f.payload) for f in decoder.receive_data(await reader.read()))
    assert stream == 1
    assert b"executable file not found in $PATH" in said
    assert said.endswith(b"\r\n")
    assert (await door.call("GET", f"/exec/{made['Id']}/json"))[1]["ExitCode"] == 127
    writer.close()


async def test_websocket(door: DoorUnderTest) -> None:
    id = await door.create(OpenStdin=True, StdinOnce=True)
    session = door.runtime.containers.session
    url = f"http://docker/v1.51/containers/{id}/attach/ws?{ALL}"
    async with door.http.ws_connect(url) as socket:
        await socket.send_bytes(b"in")
        session.output.put_nowait((StdStream.STDOUT, b"out"))
        assert await socket.receive_bytes() == b"out"
        await until(lambda: session.written == b"in")
        session.output.put_nowait(None)
        message = await socket.receive()
        assert message.data == 1000 or message.type.name in ("CLOSE", "CLOSED", "CLOSING")


async def test_a_client_that_does_not_read_stops_only_its_own_stream(door: DoorUnderTest) -> None:
    class Endless(FakeStdio):
        reads = 0

        async def read(self) -> tuple[StdStream, bytes]:
            self.reads += 1
            await asyncio.sleep(0)
            return StdStream.STDOUT, bytes(65_536)

    session = Endless()
    door.runtime.containers.session = session
    id = await door.create()
    _, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?stream=1&stdout=1", UPGRADE))
    await asyncio.sleep(0.2)
    stalled = session.reads
    await asyncio.sleep(0.2)
    assert session.reads == stalled, "nothing is read that nobody takes"
    assert stalled < 100
    assert (await door.call("GET", "/_ping"))[0] == 200
    writer.transport.abort()
    await until(lambda: session.closed)


async def test_input_that_nobody_takes_stops_the_client(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharedrt.edges.docker.gate._HANG_UP_POLL_S", 0.01)

    class Deaf(FakeStdio):
        async def write(self, data: bytes) -> None:
            await asyncio.Event().wait()

    session = Deaf()
    door.runtime.containers.session = session
    id = await door.create(OpenStdin=True)
    reader, writer = await door.open()
    writer.write(request(f"/containers/{id}/attach?{ALL}", UPGRADE))
    await read_head(reader)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send(), 0.5)
    assert sent < 8 << 20
    assert not session.closed
    writer.transport.abort()
    await until(lambda: session.closed)


async def test_a_replayed_log_waits_until_the_head_was_read(door: DoorUnderTest) -> None:
    """docker-py drops what it got together with the head."""
    id = await door.create()
    door.runtime.containers.lines = [[LogLine(1, 1, b"said", False)]]
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(door.path))
        await loop.sock_sendall(
            client, request(f"/containers/{id}/attach?logs=1&stdout=1", UPGRADE)
        )
        await asyncio.sleep(0.2)  # a client that is slower than the log, and waits for a CPU
        assert (await loop.sock_recv(client, 65_536)).endswith(b"\r\n\r\n")
        assert await loop.sock_recv(client, 65_536) == encode_frame(1, b"said\n")
        assert await loop.sock_recv(client, 65_536) == b""


async def test_an_execs_output_waits_until_the_head_was_read(door: DoorUnderTest) -> None:
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    body = {"Cmd": ["x"], "AttachStdout": True}
    _, made, _ = await door.call("POST", f"/containers/{id}/exec", body)
    for item in ((StdStream.STDOUT, b"said\n"), None):
        door.runtime.execs.session.output.put_nowait(item)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(door.path))
        start = request(f"/exec/{made['Id']}/start", UPGRADE, b"{}")
        await loop.sock_sendall(client, start)
        await asyncio.sleep(0.2)
        assert (await loop.sock_recv(client, 65_536)).endswith(b"\r\n\r\n")
        assert await loop.sock_recv(client, 65_536) == encode_frame(1, b"said\n")
