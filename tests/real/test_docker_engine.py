"""What the Engine's own integration tests look at, that no client's session would: words, limits, mounts, versions."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.real.clients import DockerClient, docker_client
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

V2 = not Path("/sys/fs/cgroup/pids").is_dir()


@pytest_asyncio.fixture(loop_scope="module")
async def box(daemon: DaemonUnderTest) -> AsyncIterator[str]:
    await daemon.docker("run", "-d", "--name", "box", "--pids-limit", "32", "busybox", "top")
    yield "box"
    await daemon.docker("rm", "-f", "box")


async def run(daemon: DaemonUnderTest, *args: str) -> str:
    return (await daemon.docker("run", "--rm", *args)).stdout.strip()


async def test_an_exec_of_nobody_known_is_refused_when_it_is_created(
    docker: DockerClient, box: str
) -> None:
    for user, words in (
        ("no-such-user", "unable to find user no-such-user: no matching entries in passwd file"),
        ("no-such-user:1", "unable to find user no-such-user: no matching entries in passwd file"),
        (
            "1:no-such-group",
            "unable to find group no-such-group: no matching entries in group file",
        ),
    ):
        request = {"Cmd": ["id"], "User": user}
        answer = await docker.post(f"/containers/{box}/exec", json=request)
        assert answer == (400, {"message": words})
    request = {"Cmd": ["id"], "User": "nobody"}
    assert (await docker.post(f"/containers/{box}/exec", json=request))[0] == 201


async def test_limits_are_lifted_while_it_runs(
    daemon: DaemonUnderTest, docker: DockerClient, box: str
) -> None:
    async def update(**limits: int) -> dict[str, Any]:
        status, value = await docker.post(f"/containers/{box}/update", json=limits)
        assert (status, value) == (200, {"Warnings": None})
        inspected: dict[str, Any] = (await docker.get(f"/containers/{box}/json"))[1]
        return dict(inspected["HostConfig"])

    pids = "pids.max" if V2 else "pids/pids.max"
    assert await _in_cgroup(daemon, box, pids) == "32"
    assert (await update(PidsLimit=-1))["PidsLimit"] == 0
    assert await _in_cgroup(daemon, box, pids) == "max"
    assert (await update(CpuQuota=20_000))["CpuQuota"] == 20_000
    quota = "cpu.max" if V2 else "cpu/cpu.cfs_quota_us"
    assert (await _in_cgroup(daemon, box, quota)).split()[0] == "20000"
    assert (await update(CpuQuota=-1))["CpuQuota"] == -1
    assert (await _in_cgroup(daemon, box, quota)).split()[0] == ("max" if V2 else "-1")
    # What is unlimited starts again, too.
    await daemon.docker("restart", "-t", "0", box)
    assert await _in_cgroup(daemon, box, pids) == "max"


async def _in_cgroup(daemon: DaemonUnderTest, container: str, name: str) -> str:
    return (await daemon.docker("exec", container, "cat", f"/sys/fs/cgroup/{name}")).stdout.strip()


async def test_signals_that_are_none(docker: DockerClient, box: str) -> None:
    for signal in ("0", "SIG42"):
        status, value = await docker.post(f"/containers/{box}/kill", signal=signal)
        words = f"cannot kill container: {box}: invalid signal: {signal}"
        assert (status, value["message"]) == (400, words)
    assert (await docker.get(f"/containers/{box}/json"))[1]["State"]["Running"]


async def test_files_that_are_not_there(docker: DockerClient, box: str) -> None:
    id = (await docker.get(f"/containers/{box}/json"))[1]["Id"]
    for name in (box, id):
        status, value = await docker.get(f"/containers/{name}/archive?path=/dne")
        words = f"Could not find the file /dne in container {name}"
        assert (status, value["message"]) == (404, words)


async def test_anybody_may_ping_and_listen_on_any_port(daemon: DaemonUnderTest) -> None:
    script = "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start"
    open_to_all = await run(daemon, "-u", "1000", "busybox", "sh", "-c", script)
    assert open_to_all.split() == ["0", "2147483647", "0"]
    own = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=80")
    assert (await run(daemon, *own, "busybox", "sh", "-c", script)).split()[-1] == "80"


async def test_cgroups_to_write_for_those_who_ask(daemon: DaemonUnderTest) -> None:
    script = f"mkdir /sys/fs/cgroup/{'' if V2 else 'pids/'}sub && echo made || echo refused"
    for option, words in (("true", "made"), ("false", "refused")):
        asked = ("--security-opt", f"writable-cgroups={option}")
        assert (await run(daemon, *asked, "busybox", "sh", "-c", script)).endswith(words)


async def test_a_host_name_is_a_name_on_its_networks(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "names")
    try:
        await daemon.docker(
            "run",
            "-d",
            "--name",
            "named",
            "--hostname",
            "foobar",
            "--network",
            "names",
            "busybox",
            "top",
        )
        answer = await run(daemon, "--network", "names", "busybox", "nslookup", "foobar")
        address = (
            await daemon.docker(
                "inspect", "-f", "{{.NetworkSettings.Networks.names.IPAddress}}", "named"
            )
        ).stdout.strip()
        assert address in answer
    finally:
        await daemon.docker("rm", "-f", "named")
        await daemon.docker("network", "rm", "names")


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A folder with a writable mount in it."""
    inner, other = tmp_path / "outer" / "inner", tmp_path / "other"
    inner.mkdir(parents=True)
    other.mkdir()
    subprocess.run(["mount", "--bind", other, inner], check=True)
    yield tmp_path / "outer"
    subprocess.run(["umount", inner], check=True)


async def test_read_only_binds_by_version(docker: DockerClient, nested: Path) -> None:
    """All that is mounted below is read-only for clients of today, and was not for those of old."""
    for version, code in (("v1.51", 1), ("v1.44", 1), ("v1.43", 0), ("v1.24", 0)):
        client = DockerClient(docker.session, version)
        request = {
            "Image": "busybox",
            "Cmd": ["touch", "/t/inner/file"],
            "HostConfig": {"Binds": [f"{nested}:/t:ro"]},
        }
        status, made = await client.post("/containers/create", json=request)
        assert status == 201
        await client.post(f"/containers/{made['Id']}/start")
        assert (await client.post(f"/containers/{made['Id']}/wait"))[1]["StatusCode"] == code
        await client.delete(f"/containers/{made['Id']}")


async def test_the_daemons_folder_in_a_container(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """It is a slave there where the host's mounts allow it, and starts where they do not."""
    state = str(daemon.root / "state")
    request: dict[str, Any] = {
        "Image": "busybox",
        "Cmd": ["test", "-d", "/t"],
        "HostConfig": {"Binds": [f"{state}:/t:ro"]},
    }
    _, made = await docker.post("/containers/create", json=request)
    (mount,) = (await docker.get(f"/containers/{made['Id']}/json"))[1]["Mounts"]
    assert mount["Propagation"] == "rslave"
    assert (await docker.post(f"/containers/{made['Id']}/start"))[0] == 204
    assert (await docker.post(f"/containers/{made['Id']}/wait"))[1]["StatusCode"] == 0
    await docker.delete(f"/containers/{made['Id']}")
    request["HostConfig"] = {"Binds": [f"{state}:/t:private"]}
    status, value = await docker.post("/containers/create", json=request)
    assert status == 400
    assert f'daemon root: "{state}"' in value["message"]


async def test_stops_in_the_middle_of_restarts(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """However close to an end the stop comes, the policy has no say after it."""
    names = [f"again{number}" for number in range(4)]
    try:
        for name in names:
            await daemon.docker(
                "run", "-d", "--restart", "always", "--name", name, "busybox", "false"
            )
        for name in names:
            assert (await docker.post(f"/containers/{name}/stop"))[0] in (204, 304)
        await asyncio.sleep(0.5)
        for name in names:
            assert (await docker.get(f"/containers/{name}/json"))[1]["State"]["Status"] == "exited"
    finally:
        await daemon.docker("rm", "-f", *names)


async def test_an_image_by_what_is_no_name(docker: DockerClient) -> None:
    image = (await docker.get("/images/busybox:latest/json"))[1]["Id"]
    request = {"Image": f"busybox:{image}", "Cmd": ["true"]}
    status, value = await docker.post("/containers/create", json=request)
    assert (status, value["message"]) == (400, "invalid reference format")


async def test_a_cdi_device(tmp_path: Path, busybox_archive: Path) -> None:
    """Told of, injected, and refused when it is not there."""
    (tmp_path / "vendor.json").write_text(
        '{"cdiVersion": "0.6.0", "kind": "vendor1.com/device", "devices": '
        '[{"name": "foo", "containerEdits": {"env": ["FOO=injected"]}}]}'
    )
    daemon = DaemonUnderTest(settings={"runtime": {"cdi_dirs": [str(tmp_path)]}})
    try:
        await daemon.start()
        await daemon.cli("-n", "moby", "images", "import", str(busybox_archive))
        async with docker_client(daemon.socket("docker")) as docker:
            _, told = await docker.get("/info")
            assert told["DiscoveredDevices"] == [{"Source": "cdi", "ID": "vendor1.com/device=foo"}]
            assert told["CDISpecDirs"] == [str(tmp_path)]

            def asked(name: str) -> dict[str, Any]:
                ids = [f"vendor1.com/device={name}"]
                return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ids}]}

            assert "FOO=injected" in await docker.run(asked("foo"), "env")
            with pytest.raises(
                AssertionError, match=r"unresolvable CDI devices vendor1\.com/device=bar"
            ):
                await docker.run(asked("bar"), "env")
    finally:
        await daemon.purge()
