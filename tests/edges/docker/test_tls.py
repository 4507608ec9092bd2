"""The TCP door with mutual TLS: plain calls, and a hijacked stream whose client half-closes at once."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from sharedrt.edges.docker import DockerServer, DockerSettings, make_docker_app, serve
from sharedrt.edges.docker.serve import make_tls
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.stdio import StdStream
from sharedrt.services.contracts import NamespacedRuntime
from tests.edges.docker.fakes import HOST, FakeRuntime
from tests.wire.test_tls import certificate as certificate

Certificate = tuple[Path, Path]


@pytest.fixture
async def tls_door(certificate: Certificate) -> AsyncIterator[tuple[FakeRuntime, DockerServer]]:
    """The certificate signs itself, so it is its own authority: clients show the same one."""
    runtime = FakeRuntime()
    app = make_docker_app(cast(NamespacedRuntime, runtime), HOST, DockerSettings())
    server = await serve(app, tcp="127.0.0.1:0", tls=make_tls(*certificate, certificate[0]))
    yield runtime, server
    await server.close()


def client_context(certificate: Certificate, *, show: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    if show:
        context.load_cert_chain(*certificate)
    return context


def port_of(server: DockerServer) -> int:
    return int(server.addresses[0].rpartition(":")[2])


async def test_calls(tls_door: tuple[FakeRuntime, DockerServer], certificate: Certificate) -> None:
    port = port_of(tls_door[1])
    async with aiohttp.ClientSession() as http:
        url = f"https://localhost:{port}/_ping"
        async with http.get(url, ssl=client_context(certificate)) as response:
            assert await response.text() == "OK"
        with pytest.raises(aiohttp.ClientError):
            await http.get(url, ssl=client_context(certificate, show=False))
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://localhost:{port}/_ping")


async def test_output_after_the_clients_half_close(
    tls_door: tuple[FakeRuntime, DockerServer], certificate: Certificate
) -> None:
    runtime, server = tls_door
    port = port_of(server)
    context = client_context(certificate)
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"https://localhost:{port}/containers/create", json={"Image": "busybox"}, ssl=context
        ) as response,
    ):
        id = (await response.json())["Id"]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("localhost", port)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65_536))
    tls.write(
        f"POST /containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode()
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    writer.write(outgoing.read())
    await asyncio.sleep(0.1)
    session = runtime.containers.session
    session.output.put_nowait((StdStream.STDOUT, b"late output"))
    session.output.put_nowait(None)
    incoming.write(await reader.read())
    assert b"late output" in _all(tls)
    writer.close()


def _all(tls: ssl.SSLObject) -> bytes:
    parts = []
    try:
        while part := tls.read(65_536):
            parts.append(part)
    except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
        pass
    return b"".join(parts)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nope"):
        make_tls(tmp_path / "nope", tmp_path / "nope", None)
