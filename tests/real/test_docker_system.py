"""What the engine says of itself, and what it refuses, to real clients."""

import asyncio
import json
import os
import platform
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.registry import PASSWORD, USER, RegistryUnderTest, running_registry

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

CGROUP_DRIVER = "systemd" if Path("/run/systemd/system").is_dir() else "cgroupfs"
CGROUPS = "1" if Path("/sys/fs/cgroup/pids").is_dir() else "2"
CONTAINER: dict[str, Any] = {
    "Image": "busybox",
    "Cmd": ["sleep", "600"],
    "HostConfig": {"NetworkMode": "none"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed_registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[RegistryUnderTest]:
    folder = tmp_path_factory.mktemp("closed")
    async with running_registry(folder, basic_auth=True) as registry:
        yield registry


async def info(docker: DockerClient) -> dict[str, Any]:
    status, found = await docker.get("/info")
    assert status == 200
    return dict(found)


async def create(docker: DockerClient, name: str, *, start: bool = False, **body: Any) -> str:
    status, made = await docker.post("/containers/create", json={**CONTAINER, **body}, name=name)
    assert status == 201, made
    if start:
        assert (await docker.post(f"/containers/{name}/start"))[0] == 204
    return str(made["Id"])


async def test_info_has_true_figures(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    before = await info(docker)
    for name in ("run", "halt", "made"):
        await create(docker, name, start=name != "made")
    assert (await docker.post("/containers/halt/pause"))[0] == 204
    await daemon.docker("tag", "busybox", "second:name")
    found = await info(docker)
    counts = ("Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped")
    assert [found[name] - before[name] for name in counts] == [3, 1, 1, 1]
    assert found["Images"] == before["Images"] == 1, "an image of two names is one"
    meminfo = await asyncio.to_thread(Path("/proc/meminfo").read_text)
    assert found["MemTotal"] == int(meminfo.split()[1]) * 1024
    assert found["NCPU"] == len(os.sched_getaffinity(0))
    assert found["KernelVersion"] == platform.release()
    assert (found["Name"], found["Architecture"]) == (socket.gethostname(), platform.machine())
    assert found["DockerRootDir"] == str(daemon.root / "state")
    assert (found["Driver"], found["CgroupDriver"]) == ("overlay2", CGROUP_DRIVER)
    assert found["CgroupVersion"] == (CGROUPS)
    backing = dict(found["DriverStatus"])["Backing Filesystem"]
    kind = await daemon.run("stat", "-f", "-c", "%T", str(daemon.root / "state"))
    assert backing.removesuffix("fs")[:3] in kind.stdout
    assert {"bridge", "host", "null", "macvlan", "ipvlan"} == set(found["Plugins"]["Network"])
    assert found["Plugins"]["Volume"] == ["local"]
    assert found["Plugins"]["Log"] == ["journald", "json-file", "local", "syslog"]
    assert found["LoggingDriver"] == "json-file"
    assert set(found["Runtimes"]) == {"crun", "runc"}
    assert found["DefaultRuntime"] in found["Runtimes"]
    assert found["Debug"] is True
    assert daemon.process is not None
    open_files = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    assert abs(found["NFd"] - open_files) <= 5
    url = "http://docker/v1.51/events"
    async with docker.session.get(url):
        assert (await info(docker))["NEventsListener"] == before["NEventsListener"] + 1
    assert found["Swarm"]["LocalNodeState"] == "inactive"
    text = (await daemon.docker("info")).stdout
    assert f"Server Version: {found['ServerVersion']}" in text
    assert f"ID: {found['ID']}" in text
    for name in ("run", "halt", "made"):
        await docker.delete(f"/containers/{name}", force="1")
    await daemon.docker("rmi", "second:name")


async def test_the_engines_id_outlives_it(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    id = (await info(docker))["ID"]
    assert len(id) == 36
    await daemon.kill9()
    await daemon.start()
    assert (await info(docker))["ID"] == id
    boot_id = await asyncio.to_thread(Path("/proc/sys/kernel/random/boot_id").read_text)
    assert id != boot_id.strip(), "two engines of one boot are two"


async def test_mirrors_and_insecure_registries_are_shown(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """As they are now: no restart is needed."""
    hub, lan = daemon.certs_d / "docker.io", daemon.certs_d / "lan.example:5000"
    hub.mkdir()
    lan.mkdir()
    (hub / "hosts.toml").write_text('[host."http://127.0.0.1:5999"]\n')
    (lan / "hosts.toml").write_text("skip_verify = true\n")
    config = (await info(docker))["RegistryConfig"]
    assert config["Mirrors"] == ["http://127.0.0.1:5999/"]
    assert config["IndexConfigs"]["docker.io"]["Mirrors"] == ["http://127.0.0.1:5999/"]
    assert config["IndexConfigs"]["lan.example:5000"]["Secure"] is False
    text = (await daemon.docker("info")).stdout
    assert "Registry Mirrors:\n  http://127.0.0.1:5999/" in text
    assert "Insecure Registries:\n  lan.example:5000\n  ::1/128\n  127.0.0.0/8\n" in text
    (hub / "hosts.toml").write_text("what?")
    assert "docker.io" in (await info(docker))["Warnings"][-1]
    for folder in (hub, lan):
        (folder / "hosts.toml").unlink()
        folder.rmdir()
    assert (await info(docker))["RegistryConfig"]["Mirrors"] is None


async def test_version_names_the_components(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    status, found = await docker.get("/version")
    components = {each["Name"]: each["Version"] for each in found["Components"]}
    assert (status, next(iter(components))) == (200, "Engine")
    for tool in ("conmon", "crun", "runc"):
        said = (await daemon.run(tool, "--version")).stdout
        assert components[tool]
        assert components[tool] in said
    assert {"CNI", "catatonit"} <= set(components)
    assert (found["ApiVersion"], found["MinAPIVersion"]) == ("1.51", "1.24")
    shown = json.loads((await daemon.docker("version", "--format", "{{json .}}")).stdout)["Server"]
    assert shown["ApiVersion"] == "1.51"
    assert [each["Name"] for each in shown["Components"]] == list(components)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_ping_has_what_clients_negotiate_by(docker: DockerClient, method: str) -> None:
    for path in ("/_ping", "/v1.24/_ping"):
        async with docker.session.request(method, f"http://docker{path}") as response:
            body = await response.read()
            assert (response.status, body) == (200, b"OK" if method == "GET" else b"")
            told = {
                name: response.headers[name]
                for name in ("Api-Version", "Builder-Version", "Ostype", "Docker-Experimental")
            }
            assert told == {
                "Api-Version": "1.51",
                "Builder-Version": "1",
                "Ostype": "linux",
                "Docker-Experimental": "false",
            }
            assert response.headers["Swarm"] == "inactive"
            assert response.headers["Cache-Control"].startswith("no-cache")


async def test_the_cli_negotiates_down_and_up(daemon: DaemonUnderTest) -> None:
    shown = json.loads((await daemon.docker("version", "--format", "{{json .Client}}")).stdout)
    assert shown["ApiVersion"] == shown["DefaultAPIVersion"], "its own newest"
    for version in ("1.24", "1.43"):
        done = await daemon.run("env", f"DOCKER_API_VERSION={version}", "docker", "ps", "-q")
        assert done.returncode == 0


async def test_disk_usage_by_each_type(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await daemon.docker("volume", "create", "dfvol")
    mount = ("-v", "dfvol:/v")
    script = "dd if=/dev/zero of=/v/f bs=1k count=64; dd if=/dev/zero of=/f bs=1k count=32"
    await daemon.docker("run", "--name", "df", *mount, "busybox", "sh", "-c", script)
    _, whole = await docker.get("/system/df")
    [image] = whole["Images"]
    assert image["Containers"] == 1
    assert whole["LayersSize"] == image["Size"]
    [container] = whole["Containers"]
    assert 32 << 10 <= container["SizeRw"] < 40 << 10
    assert container["SizeRootFs"] == container["SizeRw"] + image["Size"]
    [volume] = whole["Volumes"]
    assert (volume["Name"], volume["UsageData"]["RefCount"]) == ("dfvol", 1)
    assert 64 << 10 <= volume["UsageData"]["Size"] < 72 << 10
    assert whole["BuildCache"] in (None, [])
    names = {"image": "Images", "container": "Containers", "volume": "Volumes"}
    for kind, name in names.items():
        _, part = await docker.get("/system/df", type=kind)
        assert part[name] == whole[name]
        assert not [other for other in names.values() if other != name and part[other]]
    _, part = await docker.get("/system/df?type=image&type=volume")
    assert part["Images"]
    assert part["Volumes"]
    assert not part["Containers"]
    assert (await docker.get("/system/df", type="odd"))[0] == 400
    text = (await daemon.docker("system", "df", "-v")).stdout
    assert "dfvol" in text
    await daemon.docker("rm", "df")
    await daemon.docker("volume", "rm", "dfvol")


async def test_auth_against_the_registry(
    docker: DockerClient, closed_registry: RegistryUnderTest
) -> None:
    login = {"username": USER, "password": PASSWORD, "serveraddress": closed_registry.authority}
    status, answer = await docker.post("/auth", json=login)
    assert (status, answer["Status"]) == (200, "Login Succeeded")
    status, answer = await docker.post("/auth", json={**login, "password": "wrong"})
    assert status == 401
    assert "unauthorized" in answer["message"].lower()
    status, answer = await docker.post("/auth", json={**login, "serveraddress": "127.0.0.1:1"})
    assert status == 500
    assert "127.0.0.1" in answer["message"]
    assert (await docker.post("/auth", json={}))[0] == 400


# ---------------------------------------------------------------- what there is none of


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("node", "ls"), "This node is not a swarm manager"),
        (("service", "ls"), "This node is not a swarm manager"),
        (("secret", "ls"), "This node is not a swarm manager"),
        (("config", "ls"), "This node is not a swarm manager"),
        (("stack", "ls"), "This node is not a swarm manager"),
        (("swarm", "leave"), "This node is not part of a swarm"),
        (("swarm", "init"), "swarm mode is not supported by this daemon"),
        (("plugin", "enable", "x"), 'plugin "x" not found'),
        (("plugin", "install", "--grant-all-permissions", "x"), "not supported by this daemon"),
    ],
)
async def test_no_swarm_and_no_plugins(
    daemon: DaemonUnderTest, command: tuple[str, ...], words: str
) -> None:
    done = await daemon.docker(*command, check=False)
    assert done.returncode == 1
    assert words in done.stderr


async def test_clients_carry_on_without_plugins_and_sessions(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    assert (await daemon.docker("plugin", "ls", "-q")).stdout == ""
    missing = {"message": 'plugin "x" not found'}
    assert await docker.get("/plugins/x/json") == (404, missing)
    status, answer = await docker.post("/session")
    assert (status, answer["message"]) == (400, "no upgrade proto in request")
    headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
    url = "http://docker/v1.51/session"
    async with docker.session.post(url, headers=headers) as response:
        assert response.status == 501
        assert "BuildKit session" in (await response.json())["message"]


# ---------------------------------------------------------------- the shape and code of refusals


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/containers/json?limit=a", None, 400, "invalid value for 'limit'"),
        ("GET", "/containers/json?filters={bad", None, 400, "invalid filter"),
        ("GET", '/images/json?filters={"odd":["x"]}', None, 400, "invalid filter 'odd'"),
        ("POST", "/containers/create", "{bad", 400, "invalid character 'b'"),
        ("POST", "/containers/create", "", 400, "EOF"),
        ("POST", "/containers/create", "[]", 400, "invalid JSON"),
        ("POST", "/containers/create?name=held", '{"Image":"busybox"}', 409, "already in use"),
        ("POST", "/containers/create", '{"Image":"nope"}', 404, "No such image: nope:latest"),
        ("GET", "/containers/nope/json", None, 404, "No such container: nope"),
        ("GET", "/exec/nope/json", None, 404, "No such exec instance: nope"),
        ("GET", "/networks/nope", None, 404, "network nope not found"),
        ("GET", "/volumes/nope", None, 404, "get nope: no such volume"),
        ("DELETE", "/containers/held", None, 409, "cannot remove container"),
        ("POST", "/containers/held/rename?name=held", None, 400, "same name"),
        ("GET", "/nowhere", None, 404, "page not found"),
        ("PUT", "/info", None, 404, "page not found"),
        ("POST", "/swarm/init", "{}", 501, "is not supported by this daemon"),
    ],
)
async def test_the_code_of_each_refusal(
    docker: DockerClient, method: str, path: str, body: str | None, status: int, words: str
) -> None:
    await create(docker, "held", start=True)
    try:
        headers = {"Content-Type": "application/json"}
        url = f"http://docker/v1.51{path}"
        async with docker.session.request(method, url, data=body, headers=headers) as response:
            assert response.status == status
            assert response.content_type == "application/json"
            answer = await response.json()
        assert list(answer) == ["message"]
        assert words in answer["message"]
    finally:
        await docker.delete("/containers/held", force="1")


async def test_not_modified(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    """304 has no body, and its connection lives on."""
    await create(docker, "same", start=True)
    connector = aiohttp.UnixConnector(str(daemon.socket("docker")), limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        found = []
        for action in ("start", "stop?t=0", "stop?t=0", "start"):
            url = f"http://docker/v1.51/containers/same/{action}"
            async with session.post(url) as response:
                found.append((response.status, await response.read()))
    assert found == [(304, b""), (204, b""), (304, b""), (204, b"")]
    await docker.delete("/containers/same", force="1")
