"""The Docker door's everyday verbs by the docker CLI, each looked at where it takes effect."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.registry import PASSWORD, USER, RegistryUnderTest, running_registry
from tests.real.test_cri import own_namespaces, read
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

TICK = "trap 'exit 5' TERM; i=0; while :; do echo $((i+=1)); sleep 0.05; done"


@pytest_asyncio.fixture(loop_scope="module")
async def box(daemon: DaemonUnderTest) -> AsyncIterator[str]:
    """A container that counts and ends with 5 when it is asked to."""
    done = await daemon.docker("run", "-d", "--label", "verb=1", "busybox", "sh", "-c", TICK)
    yield done.stdout.strip()
    await daemon.docker("rm", "-f", done.stdout.strip(), check=False)


async def state(daemon: DaemonUnderTest, id: str) -> str:
    return (await daemon.docker("inspect", "-f", "{{.State.Status}}", id)).stdout.strip()


async def counted(daemon: DaemonUnderTest, id: str) -> int:
    return len((await daemon.docker("logs", id)).stdout.split())


async def test_pause_and_unpause(daemon: DaemonUnderTest, box: str) -> None:
    await daemon.docker("pause", box)
    assert await state(daemon, box) == "paused"
    seen = await counted(daemon, box)
    assert await counted(daemon, box) == seen
    assert "paused" in (await daemon.docker("exec", box, "true", check=False)).stderr.lower()
    await daemon.docker("unpause", box)

    async def goes_on() -> bool:
        return await counted(daemon, box) > seen

    await until(goes_on)
    assert await state(daemon, box) == "running"
    twice = await daemon.docker("unpause", box, check=False)
    assert (twice.returncode, "not paused" in twice.stderr) == (1, True)


async def test_stop_kill_restart_and_wait(daemon: DaemonUnderTest, box: str) -> None:
    before = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", box)).stdout
    await daemon.docker("restart", "-t", "5", box)
    assert (await daemon.docker("inspect", "-f", "{{.State.Pid}}", box)).stdout != before
    await daemon.docker("stop", "-t", "5", box)
    assert (await daemon.docker("wait", box)).stdout == "5\n", "it was asked, not killed"
    await daemon.docker("start", box)
    await daemon.docker("kill", "-s", "KILL", box)
    assert (await daemon.docker("wait", box)).stdout == "137\n"
    gone = await daemon.docker("kill", box, check=False)
    assert "is not running" in gone.stderr


async def test_top_rename_filters_and_logs(daemon: DaemonUnderTest, box: str) -> None:
    rows = (await daemon.docker("top", box)).stdout.splitlines()
    assert rows[0].split()[:2] == ["UID", "PID"]
    pid = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", box)).stdout.strip()
    assert any(row.split()[1] == pid for row in rows[1:])
    await daemon.docker("rename", box, "renamed")
    for filter, found in (
        ("name=renamed", True),
        ("label=verb=1", True),
        ("status=running", True),
        ("status=exited", False),
        ("ancestor=busybox", True),
        ("id=" + box[:8], True),
        ("label=verb=2", False),
    ):
        out = (await daemon.docker("ps", "-a", "--no-trunc", "-q", "-f", filter)).stdout
        assert (box in out) is found, filter

    async def several() -> bool:
        return await counted(daemon, box) > 8

    await until(several)
    stamped = (await daemon.docker("logs", "-t", box)).stdout.splitlines()
    third = stamped[2].split()[0]
    until_third = (await daemon.docker("logs", "--until", third, box)).stdout.split()
    assert until_third == ["1", "2", "3"]
    since_third = (await daemon.docker("logs", "--since", third, "-n", "2", box)).stdout.split()
    assert [int(n) for n in since_third] == sorted(map(int, since_third))
    assert len(since_third) == 2


async def test_exec_is_a_thing_of_its_own(docker: DockerClient, box: str) -> None:
    asked = {"Cmd": ["sh", "-c", "exit 7"], "AttachStdout": True, "Tty": True}
    status, made = await docker.post(f"/containers/{box}/exec", json=asked)
    assert status == 201
    _, shown = await docker.get(f"/exec/{made['Id']}/json")
    assert (shown["Running"], shown["ContainerID"]) == (False, box)
    url = f"http://docker/v1.51/exec/{made['Id']}/start"
    async with docker.session.post(url, json={"Tty": True}) as response:
        assert response.status == 200
        await response.read()

    async def ended() -> bool:
        _, shown = await docker.get(f"/exec/{made['Id']}/json")
        return bool(shown["ExitCode"] == 7 and not shown["Running"])

    await until(ended)
    status, _ = await docker.post(f"/exec/{made['Id']}/resize", h="20", w="30")
    assert status in (409, 500), "it does not run any more"


async def test_the_three_networks_and_a_bind(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    for network, interfaces in (("none", {"lo"}), ("bridge", {"lo", "eth0"})):
        done = await daemon.docker(
            *("run", "--rm", "--network", network, "-v", f"{tmp_path}:/in:ro", "busybox"),
            *("sh", "-c", "cd /sys/class/net; ls -d */ | tr -d /; cat /in/file; touch /in/x"),
            check=False,
        )
        *seen, text = done.stdout.split("\n", len(interfaces))
        assert (set(seen), text) == (interfaces, "from the host")
        assert "Read-only file system" in done.stderr
    on_host = await daemon.docker(
        "run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"
    )
    assert on_host.stdout.split() == own_namespaces("net")
    listed = await daemon.docker("network", "ls", "--format", "{{.Name}} {{.Driver}}")
    assert set(listed.stdout.splitlines()) == {"bridge bridge", "host host", "none null"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[RegistryUnderTest]:
    folder = tmp_path_factory.mktemp("closed")
    async with running_registry(folder, basic_auth=True) as registry:
        yield registry


async def test_auth_and_what_the_engine_is(
    daemon: DaemonUnderTest, docker: DockerClient, closed: RegistryUnderTest
) -> None:
    for password, status in ((PASSWORD, 200), ("wrong", 401)):
        asked = {"username": USER, "password": password, "serveraddress": closed.authority}
        code, said = await docker.post("/auth", json=asked)
        assert code == status, said
        assert password not in json.dumps(said).replace("password", "")
    version = json.loads((await daemon.docker("version", "--format", "{{json .Server}}")).stdout)
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.51", "1.24")
    info = json.loads((await daemon.docker("info", "--format", "{{json .}}")).stdout)
    assert info["Images"] == 1
    assert info["DockerRootDir"] == str(daemon.root / "state")
    async with docker.session.get("http://docker/_ping") as response:
        assert (response.status, await response.text()) == (200, "OK")
        assert response.headers["Api-Version"] == "1.51"
    assert PASSWORD + '"' not in read(daemon.log_path)
