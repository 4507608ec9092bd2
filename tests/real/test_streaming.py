"""Exec, attach and port-forward over SPDY and WebSocket, into real containers."""

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from grpclib import GRPCError, Status

from sharedrt.pb.runtime import v1 as pb
from sharedrt.wire.spdy import DataReceived, SpdyConnection
from tests.real.clients import CriClient
from tests.real.daemon import DaemonUnderTest
from tests.real.streaming_clients import SpdyClient, spdy, upgrade, websocket
from tests.real.test_cri import PRIVATE_PID, pod, secured

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@asynccontextmanager
async def running(
    cri: CriClient, name: str, command: list[str], **changes: Any
) -> AsyncIterator[tuple[str, str]]:
    """(pod, container)"""
    async with pod(cri, name) as (id, config):
        container = await cri.create(id, config, "main", command, linux=secured(), **changes)
        await cri.start(container)
        yield id, container


SLEEP = ["sleep", "600"]
UNTIL_43_ROWS = "until stty size 2>/dev/null | grep -q ^43; do sleep 0.01; done"


async def exec_url(cri: CriClient, container: str, *command: str, **streams: bool) -> str:
    asked = {"stdout": True, **streams}
    request = pb.ExecRequest(container_id=container, cmd=list(command), **asked)
    return (await cri.runtime.exec(request)).url


async def open_streams(client: SpdyClient, *kinds: str) -> dict[str, int]:
    return {kind: await client.open(streamtype=kind) for kind in ("error", *kinds)}


# ---------------------------------------------------------------- SPDY


async def test_exec_over_spdy(cri: CriClient) -> None:
    async with running(cri, "spdyexec", SLEEP) as (_, container):
        script = "read line; echo got $line; echo oops >&2; cat; exit 3"
        url = await exec_url(cri, container, "sh", "-c", script, stdin=True, stderr=True)
        async with spdy(url) as client:
            streams = await open_streams(client, "stdin", "stdout", "stderr")
            await client.send(streams["stdin"], b"hello\n")
            await client.wait_data(streams["stdout"], b"got hello\n")
            await client.ping()
            await client.send(streams["stdin"], b"rest", fin=True)
            out, err, status = await client.wait_end(
                streams["stdout"], streams["stderr"], streams["error"]
            )
        assert client.accepted == set(streams.values())
        assert (out, err) == (b"got hello\nrest", b"oops\n")
        assert json.loads(status)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_success_is_told(cri: CriClient) -> None:
    async with (
        running(cri, "success", SLEEP) as (_, container),
        spdy(await exec_url(cri, container, "true")) as client,
    ):
        streams = await open_streams(client, "stdout")
        (status,) = await client.wait_end(streams["error"])
    assert json.loads(status)["status"] == "Success"


@pytest.mark.parametrize(
    "protocol",
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""],
)
async def test_each_version_over_spdy(cri: CriClient, protocol: str) -> None:
    """Streams are the same in all; the status is JSON from v4 on, and plain text before."""
    async with running(cri, "versions", SLEEP) as (_, container):
        script = "cat; echo oops >&2; exit 4"
        url = await exec_url(cri, container, "sh", "-c", script, stdin=True, stderr=True)
        async with spdy(url, protocol) as client:
            streams = await open_streams(client, "stdin", "stdout", "stderr")
            await client.send(streams["stdin"], b"input", fin=True)
            out, err, status = await client.wait_end(
                streams["stdout"], streams["stderr"], streams["error"]
            )
        assert (out, err) == (b"input", b"oops\n")
        if protocol.startswith("v4"):
            assert json.loads(status)["details"]["causes"][0]["message"] == "4"
        else:
            assert status.endswith(b"exit status 4")
        url = await exec_url(cri, container, "true")
        async with spdy(url, protocol) as client:
            streams = await open_streams(client, "stdout")
            (status,) = await client.wait_end(streams["error"])
        assert (status == b"") == (not protocol.startswith("v4"))


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v3.channel.k8s.io"])
async def test_terminal_over_spdy(cri: CriClient, protocol: str) -> None:
    async with running(cri, "tty", SLEEP) as (_, container):
        script = f"test -t 0 && echo terminal; {UNTIL_43_ROWS}; stty size"
        url = await exec_url(cri, container, "sh", "-c", script, stdin=True, tty=True)
        async with spdy(url, protocol) as client:
            streams = await open_streams(client, "stdin", "stdout", "resize")
            await client.send(streams["resize"], b'{"Width":80,"Height":24}')
            await client.wait_data(streams["stdout"], b"terminal")
            await client.send(streams["resize"], b'{"Width":132,"Height":43}')
            out, status = await client.wait_end(streams["stdout"], streams["error"])
        assert b"43 132" in out
        assert b"Success" in status or (protocol.startswith("v3") and status == b"")


async def test_much_output_at_a_slow_readers_pace(cri: CriClient) -> None:
    size = 8 << 20
    async with running(cri, "slow", SLEEP) as (_, container):
        url = await exec_url(cri, container, "head", "-c", str(size), "/dev/zero")
        status, _, reader, writer = await upgrade(
            url,
            {
                "Connection": "Upgrade",
                "Upgrade": "SPDY/3.1",
                "X-Stream-Protocol-Version": "v4.channel.k8s.io",
            },
        )
        assert " 101 " in status
        connection, got = SpdyConnection(client=True), 0
        connection.open({"streamtype": "error"})
        stdout = connection.open({"streamtype": "stdout"})
        writer.write(connection.data_to_send())
        await asyncio.sleep(0.5)
        while data := await reader.read(100_000):
            for event in connection.receive_data(data):
                if isinstance(event, DataReceived) and event.stream_id == stdout:
                    got += len(event.data)
            if got < 1 << 20:
                await asyncio.sleep(0.01)
        writer.close()
        assert got == size


async def test_command_that_does_not_exist(cri: CriClient) -> None:
    async with running(cri, "nocmd", SLEEP) as (_, container):
        async with spdy(await exec_url(cri, container, "/no/such")) as client:
            streams = await open_streams(client, "stdout")
            (status,) = await client.wait_end(streams["error"])
        value = json.loads(status)
        assert value["status"] == "Failure"
        assert "/no/such" in value["message"]


async def test_a_lost_client_ends_its_exec(cri: CriClient) -> None:
    async with running(cri, "lost", SLEEP) as (_, container):
        url = await exec_url(cri, container, "sh", "-c", "echo on; sleep 9993", stdin=True)
        async with spdy(url) as client:
            streams = await open_streams(client, "stdin", "stdout")
            await client.wait_data(streams["stdout"], b"on")
            assert b"9993" in (await cri.exec_sync(container, "ps")).stdout
            client.drop()
        for _ in range(100):
            if b"9993" not in (await cri.exec_sync(container, "ps")).stdout:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("its process still runs")


async def test_tokens_are_good_once(cri: CriClient) -> None:
    async with running(cri, "tokens", SLEEP) as (_, container):
        url = await exec_url(cri, container, "true")
        async with spdy(url) as client:
            streams = await open_streams(client, "stdout")
            await client.wait_end(streams["error"])
        for bad in (url, url + "x", url.rsplit("/", 1)[0] + "/"):
            status, _, _, writer = await upgrade(
                bad, {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
            )
            writer.close()
            assert " 404 " in status
        url = await exec_url(cri, container, "true")
        status, fields, _, writer = await upgrade(
            url,
            {
                "Connection": "Upgrade",
                "Upgrade": "SPDY/3.1",
                "X-Stream-Protocol-Version": "v9.channel.k8s.io",
            },
        )
        writer.close()
        assert " 403 " in status
        assert "v4.channel.k8s.io" in fields["x-accepted-stream-protocol-versions"]
        status, _, _, writer = await upgrade(await exec_url(cri, container, "true"), {})
        writer.close()
        assert " 400 " in status


async def test_requests_that_make_no_sense(cri: CriClient) -> None:
    async with running(cri, "refuse", SLEEP) as (id, container):
        for call in (
            exec_url(cri, container),
            exec_url(cri, container, "true", stdout=False),
            exec_url(cri, container, "true", tty=True, stderr=True),
            cri.runtime.attach(pb.AttachRequest(container_id=container, stdout=True, tty=True)),
            cri.runtime.port_forward(pb.PortForwardRequest(pod_sandbox_id=id, port=[70_000])),
        ):
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status is Status.INVALID_ARGUMENT
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=container))
        with pytest.raises(GRPCError) as caught:
            await exec_url(cri, container, "true")
        assert caught.value.status is Status.FAILED_PRECONDITION


# ---------------------------------------------------------------- attach


async def test_attach_over_spdy(cri: CriClient) -> None:
    script = "while read line; do echo you said $line; done; echo bye; exit 2"
    async with running(cri, "attach", ["sh", "-c", script], stdin=True, stdin_once=True) as (
        _,
        container,
    ):
        request = pb.AttachRequest(container_id=container, stdin=True, stdout=True, stderr=True)
        async with spdy((await cri.runtime.attach(request)).url) as client:
            streams = await open_streams(client, "stdin", "stdout", "stderr")
            await client.send(streams["stdin"], b"one\n")
            await client.wait_data(streams["stdout"], b"you said one\n")
            await client.send(streams["stdin"], b"two\n", fin=True)
            out, status = await client.wait_end(streams["stdout"], streams["error"])
        assert out == b"you said one\nyou said two\nbye\n"
        assert json.loads(status)["status"] == "Success"


async def test_two_attach_and_one_leaves(cri: CriClient) -> None:
    script = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done"
    async with running(cri, "attach2", ["sh", "-c", script]) as (_, container):
        request = pb.AttachRequest(container_id=container, stdout=True)
        async with (
            spdy((await cri.runtime.attach(request)).url) as first,
            spdy((await cri.runtime.attach(request)).url) as second,
        ):
            one, two = await open_streams(first, "stdout"), await open_streams(second, "stdout")
            await first.wait_data(one["stdout"], b"tick")
            first.drop()
            seen = len(await second.wait_data(two["stdout"], b"tick"))
            await asyncio.sleep(0.3)
            assert len(second.data[two["stdout"]]) > seen
        status = await cri.status(container)
        assert status.state == pb.ContainerState.CONTAINER_RUNNING


# ---------------------------------------------------------------- WebSocket


async def test_exec_over_websocket_v5(cri: CriClient) -> None:
    async with running(cri, "wsexec", SLEEP) as (_, container):
        url = await exec_url(
            cri, container, "sh", "-c", "cat; echo err >&2; exit 7", stdin=True, stderr=True
        )
        async with websocket(url, "v5.channel.k8s.io", "v4.channel.k8s.io") as connection:
            assert connection.protocol == "v5.channel.k8s.io"
            await connection.send_bytes(b"\x00" + b"x" * 100_000)
            await connection.send_bytes(b"\x00end")
            await connection.send_bytes(b"\xff\x00")
            channels = await received(connection)
        assert channels[1] == b"x" * 100_000 + b"end"
        assert channels[2] == b"err\n"
        assert json.loads(channels[3])["details"]["causes"][0]["message"] == "7"


async def received(connection: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    channels: dict[int, bytes] = {}
    async for message in connection:
        assert message.type is aiohttp.WSMsgType.BINARY
        channels[message.data[0]] = channels.get(message.data[0], b"") + message.data[1:]
    assert connection.close_code == 1000
    return channels


async def test_terminal_over_websocket_v4(cri: CriClient) -> None:
    async with running(cri, "wstty", SLEEP) as (_, container):
        script = f"{UNTIL_43_ROWS}; stty size; read x; echo $x"
        url = await exec_url(cri, container, "sh", "-c", script, stdin=True, tty=True)
        async with websocket(url, "v4.channel.k8s.io") as connection:
            await connection.send_bytes(b'\x04{"Width":132,"Height":43}')
            await connection.send_bytes(b"\x00typed\n")
            channels = await received(connection)
        assert b"43 132" in channels[1]
        assert channels[1].count(b"typed") >= 1
        assert json.loads(channels[3])["status"] == "Success"


@pytest.mark.parametrize("protocol", ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])
async def test_websocket_of_text_messages(cri: CriClient, protocol: str) -> None:
    """For browsers: the channel's number as a digit, and the rest in base64."""
    async with running(cri, "wstext", SLEEP) as (_, container):
        url = await exec_url(cri, container, "sh", "-c", "read x; echo got $x; exit 6", stdin=True)
        async with websocket(url, protocol) as connection:
            assert connection.protocol == protocol
            await connection.send_str("0" + base64.b64encode(b"typed\n").decode())
            channels: dict[str, bytes] = {}
            async for message in connection:
                assert message.type is aiohttp.WSMsgType.TEXT
                number, data = message.data[0], base64.b64decode(message.data[1:])
                channels[number] = channels.get(number, b"") + data
        assert channels["1"] == b"got typed\n"
        assert b"6" in channels["3"]


async def test_slow_websocket_reader_and_its_last_words(cri: CriClient) -> None:
    """The process waits for the reader; output and status come whole, after it has ended, too."""
    size = 6 << 20
    async with running(cri, "wsslow", SLEEP) as (_, container):
        script = f"head -c {size} /dev/zero; exit 5"
        url = await exec_url(cri, container, "sh", "-c", script)
        async with websocket(url, "v5.channel.k8s.io") as connection:
            got, status = 0, b""
            await asyncio.sleep(0.5)
            async for message in connection:
                if message.data[0] == 3:
                    status += message.data[1:]
                else:
                    got += len(message.data) - 1
                if got < 1 << 20:
                    await asyncio.sleep(0.01)
        assert got == size
        assert json.loads(status)["details"]["causes"][0]["message"] == "5"


async def test_many_at_once_over_both_protocols(cri: CriClient) -> None:
    async def over_spdy(container: str, number: int) -> None:
        url = await exec_url(cri, container, "sh", "-c", f"cat; exit {number}", stdin=True)
        payload = f"spdy {number} ".encode() * 20_000
        async with spdy(url) as client:
            streams = await open_streams(client, "stdin", "stdout")
            await client.send(streams["stdin"], payload, fin=True)
            out, status = await client.wait_end(streams["stdout"], streams["error"])
        assert out == payload
        assert json.loads(status)["details"]["causes"][0]["message"] == str(number)

    async def over_websocket(container: str, number: int) -> None:
        url = await exec_url(cri, container, "sh", "-c", f"cat; exit {number}", stdin=True)
        payload = f"websocket {number} ".encode() * 20_000
        async with websocket(url, "v5.channel.k8s.io") as connection:
            for start in range(0, len(payload), 30_000):
                await connection.send_bytes(b"\x00" + payload[start : start + 30_000])
            await connection.send_bytes(b"\xff\x00")
            channels = await received(connection)
        assert channels[1] == payload
        assert json.loads(channels[3])["details"]["causes"][0]["message"] == str(number)

    async with running(cri, "crowd", SLEEP) as (_, container), asyncio.TaskGroup() as group:
        for number in range(1, 13):
            group.create_task(over_spdy(container, number))
            group.create_task(over_websocket(container, number))


async def test_unknown_websocket_protocol(cri: CriClient) -> None:
    async with running(cri, "wsbad", SLEEP) as (_, container):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with websocket(await exec_url(cri, container, "true"), "nonsense"):
                pass
        assert caught.value.status == 403


# ---------------------------------------------------------------- port-forward

# One each for the connections made at once: busybox's nc has a backlog of two, and resets what comes beyond it.
PORTS = range(8080, 8089)
SERVER = ["sh", "-c", f"for p in {' '.join(map(str, PORTS))}; do nc -ll -p $p -e cat & done; wait"]


async def forward_url(cri: CriClient, id: str, *ports: int) -> str:
    request = pb.PortForwardRequest(pod_sandbox_id=id, port=list(ports))
    return (await cri.runtime.port_forward(request)).url


async def forward(client: SpdyClient, request: int, port: int) -> tuple[int, int]:
    """(error stream, data stream)"""
    headers = {"port": str(port), "requestid": str(request)}
    error = await client.open(streamtype="error", **headers)
    return error, await client.open(streamtype="data", **headers)


async def echoes(client: SpdyClient, request: int, port: int = 8080) -> None:
    error, data = await forward(client, request, port)
    payload = f"request {request} ".encode() * 5000
    await client.send(data, payload, fin=True)
    got, failure = await client.wait_end(data, error)
    assert failure == b""
    assert got == payload


async def test_port_forward_over_spdy(cri: CriClient) -> None:
    async with running(cri, "forward", SERVER) as (id, container):
        await listening(cri, container)
        async with spdy(await forward_url(cri, id), "portforward.k8s.io") as client:
            await echoes(client, 0)
            async with asyncio.TaskGroup() as group:
                for request in range(1, 9):
                    group.create_task(echoes(client, request, PORTS[request]))
            error, data = await forward(client, 99, 8099)
            _, failure = await client.wait_end(data, error)
            assert b"8099" in failure
            assert b"refused" in failure
            await echoes(client, 100)


async def listening(cri: CriClient, container: str, ports: Iterable[int] = PORTS) -> None:
    for _ in range(200):
        shown = (await cri.exec_sync(container, "netstat", "-ltn")).stdout.decode()
        if all(f":{port}" in shown for port in ports):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nothing listens")


async def test_port_forward_is_bound_to_its_ports(cri: CriClient) -> None:
    async with running(cri, "bounded", SERVER) as (id, container):
        await listening(cri, container)
        async with spdy(await forward_url(cri, id, 9090), "portforward.k8s.io") as client:
            error, data = await forward(client, 1, 8080)
            _, failure = await client.wait_end(data, error)
        assert b"8080" in failure


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_port_forward_into_the_hosts_network(cri: CriClient, address: str) -> None:
    """Also to what listens on IPv6 alone."""
    options = pb.NamespaceOption(
        network=pb.NamespaceMode.NODE, pid=pb.NamespaceMode.CONTAINER, ipc=PRIVATE_PID.ipc
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, address, 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        pod(cri, "hostforward", options=options) as (id, _),
        spdy(await forward_url(cri, id), "portforward.k8s.io") as client,
    ):
        await echoes(client, 1, port)
    server.close()
    await server.wait_closed()


async def test_a_connection_that_the_pod_resets_ends_alone(
    daemon: DaemonUnderTest, cri: CriClient
) -> None:
    """The client, which goes on writing into it, keeps its other connections and can open new ones."""
    options = pb.NamespaceOption(
        network=pb.NamespaceMode.NODE, pid=pb.NamespaceMode.CONTAINER, ipc=PRIVATE_PID.ipc
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = await reader.readexactly(5)
        if word == b"reset":
            no_linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, no_linger
            )
            writer.transport.abort()
            return
        writer.write(word + await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        pod(cri, "resets", options=options) as (id, _),
        spdy(await forward_url(cri, id), "portforward.k8s.io") as client,
    ):
        _, kept = await forward(client, 1, port)
        await client.send(kept, b"hello, ")
        errors = []
        for request in range(2, 6):
            error, broken = await forward(client, request, port)
            errors.append(error)
            await client.send(broken, b"reset")
            while broken not in client.reset | client.ended:
                await client.send(broken, b"more" * 1000)
                await asyncio.sleep(0.002)
        assert set(await client.wait_end(*errors)) == {b""}
        await echoes(client, 9, port)
        await client.send(kept, b"still here", fin=True)
        assert await client.wait_end(kept) == [b"hello, still here"]
    server.close()
    await server.wait_closed()
    assert "background task failed" not in daemon.log_path.read_text()


async def test_clients_that_vanish_leave_no_failed_task(
    daemon: DaemonUnderTest, cri: CriClient
) -> None:
    async with running(cri, "vanish", ["nc", "-ll", "-p", "8080", "-e", "yes"]) as (id, container):
        await listening(cri, container, [8080])
        for _ in range(4):
            async with spdy(await forward_url(cri, id), "portforward.k8s.io") as client:
                _, data = await forward(client, 1, 8080)
                await client.wait_data(data, b"y\ny\n")
                client.drop()
            url = await exec_url(cri, container, "yes")
            async with websocket(url, "v5.channel.k8s.io") as connection:
                await connection.receive()
                assert connection._response.connection is not None
                assert connection._response.connection.transport is not None
                connection._response.connection.transport.abort()
        await asyncio.sleep(0.3)
    assert "background task failed" not in daemon.log_path.read_text()


async def test_port_forward_tunnelled_in_websocket(cri: CriClient) -> None:
    async with running(cri, "tunnel", SERVER) as (id, container):
        await listening(cri, container)
        url = await forward_url(cri, id)
        async with websocket(url, "SPDY/3.1+portforward.k8s.io") as connection:
            assert connection.protocol == "SPDY/3.1+portforward.k8s.io"
            client, got = SpdyConnection(client=True), b""
            client.open({"streamtype": "error", "port": "8080", "requestid": "1"})
            data = client.open({"streamtype": "data", "port": "8080", "requestid": "1"})
            client.send(data, b"through", fin=True)
            out = client.data_to_send()
            await connection.send_bytes(out[:50])
            await connection.send_bytes(out[50:])
            ended = False
            while not ended:
                message = await connection.receive(timeout=10)
                assert message.type is aiohttp.WSMsgType.BINARY
                for event in client.receive_data(message.data):
                    if isinstance(event, DataReceived) and event.stream_id == data:
                        got, ended = got + event.data, event.fin
        assert got == b"through"
