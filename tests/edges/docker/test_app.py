"""What every call meets: versions, headers, errors, malformed requests, peers."""

import asyncio
import io
import os
import socket
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest

from sharedrt.edges.docker import DockerSettings, make_docker_app, serve
from sharedrt.edges.docker.gate import Peer
from sharedrt.edges.docker.serve import bind_unix
from sharedrt.model.faults import FailedPrecondition, Internal, InvalidArgument
from sharedrt.services.contracts import NamespacedRuntime
from tests.edges.docker.conftest import DoorUnderTest
from tests.edges.docker.fakes import HOST, FakeRuntime


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.41", "/v1.51"])
async def test_versions_served(door: DoorUnderTest, prefix: str) -> None:
    status, text, headers = await door.call("GET", f"{prefix}/_ping")
    assert (status, text) == (200, "OK")
    assert headers["Api-Version"] == "1.51"
    assert headers["Ostype"] == "linux"
    assert headers["Docker-Experimental"] == "false"
    assert headers["Builder-Version"] == "1"
    assert headers["Swarm"] == "inactive"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.52", "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.51"),
        (
            "1.23",
            "client version 1.23 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
    ],
)
async def test_versions_refused(door: DoorUnderTest, version: str, words: str) -> None:
    status, value, headers = await door.call("GET", f"/v{version}/info")
    assert (status, value) == (400, {"message": words})
    assert headers["Api-Version"] == "1.51"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/no/such"), ("GET", "/vx/info"), ("PATCH", "/info"), ("GET", "/"), ("GET", "/v1.51")],
)
async def test_unknown_routes(door: DoorUnderTest, method: str, path: str) -> None:
    status, value, _ = await door.call(method, path)
    assert (status, value) == (404, {"message": "page not found"})


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//containers/json?all=1&x=%2F", "/containers/json?all=1&x=%2F"),
        ("/v1.41//_ping", "/v1.41/_ping"),
        ("/containers/../_ping", "/_ping"),
        ("/networks//", "/networks/"),
    ],
)
async def test_paths_are_cleaned_by_a_redirect(
    door: DoorUnderTest, path: str, location: str
) -> None:
    reader, writer = await door.open()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 301 ")
    assert f"\r\nLocation: {location}\r\n" in head
    assert (await door.call("GET", location))[0] == 200
    writer.close()


async def test_head_ping_has_no_body(door: DoorUnderTest) -> None:
    status, text, headers = await door.call("HEAD", "/_ping")
    assert (status, text, headers["Content-Length"]) == (200, "", "0")


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "application/json", "got EOF while reading request body"),
        (b"{", "application/json", "invalid JSON: unexpected EOF"),
        (b"{invalid", "application/json", "invalid JSON: invalid character 'i' looking for"),
        (b'{"Image":"busybox"} x', "application/json", "unexpected content after JSON"),
        (b"[]", "application/json", "not an object"),
        (b"[" * 100_000, "application/json", "invalid JSON"),
        (b'{"Image":5}', "application/json", "cannot unmarshal number into field Image"),
        (b'{"Image":"busybox","Cmd":[1]}', "application/json", "field Cmd of type []string"),
        (
            b'{"Image":"busybox","HostConfig":[]}',
            "application/json",
            "cannot unmarshal array into field HostConfig",
        ),
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain)"),
        (b"", "text/plain", "unsupported Content-Type header (text/plain)"),
        (b"{}", "", "malformed Content-Type header (): mime: no media type"),
        (b"null", "application/json; charset=utf-8", "config cannot be empty"),
    ],
)
async def test_malformed_bodies(
    door: DoorUnderTest, body: bytes, content_type: str, words: str
) -> None:
    async with door.http.post(
        "http://docker/containers/create", data=body, headers={"Content-Type": content_type}
    ) as response:
        assert response.status == 400
        assert words in (await response.json())["message"]


@pytest.mark.parametrize(
    "path",
    [
        "commit",
        "containers/create",
        "containers/none/exec",
        "containers/none/update",
        "exec/none/start",
        "networks/create",
        "networks/none/connect",
        "networks/none/disconnect",
        "volumes/create",
        "auth",
    ],
)
async def test_bodies_are_checked_before_anything_is_looked_up(
    door: DoorUnderTest, path: str
) -> None:
    for body, kind, words in (
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain)"),
        (b"{bad", "application/json", "looking for beginning of object key string"),
        (b"{} trailing", "application/json", "unexpected content after JSON"),
    ):
        async with door.http.post(
            f"http://docker/{path}", data=body, headers={"Content-Type": kind}
        ) as response:
            assert (response.status, words in (await response.json())["message"]) == (400, True)
    async with door.http.post(
        f"http://docker/{path}", data=b"", headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status < 500


async def test_what_is_no_utf8_is_answered_as_go_writes_it(door: DoorUnderTest) -> None:
    query = quote('{"a\\ud800":["x"]}')
    status, value, _ = await door.call("GET", f"/containers/json?filters={query}")
    assert (status, value["message"]) == (400, "invalid filter 'a\ufffd'")


async def test_a_body_beyond_the_bound(door: DoorUnderTest) -> None:
    async with door.http.post(
        "http://docker/containers/create",
        data=io.BytesIO(b" " * (5 << 20)),
        headers={"Content-Type": "application/json"},
    ) as response:
        assert response.status == 413


async def test_bugs_are_answered_without_details(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise KeyError("secret detail")

    monkeypatch.setattr(door.runtime.containers, "list", broken)
    status, value, _ = await door.call("GET", "/containers/json")
    assert status == 500
    assert "secret" not in str(value)


async def test_faults_keep_their_words(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise Internal("disk", "on fire")

    monkeypatch.setattr(door.runtime.containers, "list", broken)
    assert (await door.call("GET", "/containers/json"))[:2] == (500, {"message": "disk: on fire"})


async def test_bad_http_is_refused_and_the_door_stays_open(door: DoorUnderTest) -> None:
    reader, writer = await door.open()
    writer.write(b"\x16\x03\x01garbage\r\n\r\n")
    assert b"400" in await reader.readline()
    writer.close()
    assert (await door.call("GET", "/_ping"))[0] == 200


async def test_peers_are_checked_by_their_credentials(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    seen: list[Peer] = []

    def refuse(peer: Peer) -> bool:
        seen.append(peer)
        return False

    app = make_docker_app(cast(NamespacedRuntime, runtime), HOST, DockerSettings())
    path = tmp_path / "d.sock"
    server = await serve(app, unix=path, peer_check=refuse)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http,
        http.get("http://docker/_ping") as response,
    ):
        assert response.status == 403
    await server.close()
    assert [(peer.pid, peer.uid, peer.gid) for peer in seen] == [
        (os.getpid(), os.geteuid(), os.getegid())
    ]


async def test_a_stale_socket_is_replaced_and_a_live_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    runtime = cast(NamespacedRuntime, FakeRuntime())
    server = await serve(make_docker_app(runtime, HOST, DockerSettings()), unix=path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FailedPrecondition, match="a running daemon listens there"):
        await serve(make_docker_app(runtime, HOST, DockerSettings()), unix=path)
    assert path.exists()
    await server.close()
    assert not path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FailedPrecondition, match="no socket"):
        bind_unix(path, group=None)
    assert path.read_text() == "data"


async def test_tcp_without_tls_is_for_loopback_only(tmp_path: Path) -> None:
    runtime = cast(NamespacedRuntime, FakeRuntime())
    with pytest.raises(InvalidArgument, match="only loopback"):
        await serve(make_docker_app(runtime, HOST, DockerSettings()), tcp="0.0.0.0:0")
    server = await serve(make_docker_app(runtime, HOST, DockerSettings()), tcp="127.0.0.1:0")
    (address,) = server.addresses
    async with (
        aiohttp.ClientSession() as http,
        http.get(address.replace("tcp", "http") + "/_ping") as response,
    ):
        assert response.status == 200
    await server.close()


async def test_closing_ends_waiting_calls(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    app = make_docker_app(cast(NamespacedRuntime, runtime), HOST, DockerSettings())
    path = tmp_path / "d.sock"
    server = await serve(app, unix=path)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
        body = {"Image": "busybox"}
        async with http.post("http://docker/containers/create", json=body) as response:
            id = (await response.json())["Id"]
        async with http.post(f"http://docker/containers/{id}/wait") as waiting:
            assert waiting.status == 200
            async with asyncio.timeout(3):
                await server.close()
            with pytest.raises(aiohttp.ClientError):
                await waiting.read()
