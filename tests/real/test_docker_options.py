"""Every option of ``create``, seen from inside a container or in its cgroup; and what is refused, by name."""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

V2 = not Path("/sys/fs/cgroup/pids").is_dir()
SYSTEMD = Path("/run/systemd/system").is_dir()
MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")
MEMSW = (CGROUPS / "memory/memory.memsw.limit_in_bytes").exists()
WEIGHTS = V2 or any(
    (CGROUPS / "blkio" / name).exists() for name in ("blkio.weight", "blkio.bfq.weight")
)
DISK = Path("/proc/partitions").read_text().splitlines()[2].split()
"""Major, minor, blocks, name."""
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
CONFINED = APPARMOR.exists() and APPARMOR.read_text().strip() == "Y"
OWN_SCORE = Path("/proc/self/oom_score_adj").read_text().strip()
CAPABILITIES = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16)


def body(*command: str, host: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {
        "Image": "busybox",
        "Cmd": list(command),
        # A terminal, so that the log has no frames; no network, which costs time.
        "Tty": True,
        "HostConfig": {"NetworkMode": "none", **(host or {})},
        **config,
    }


@asynccontextmanager
async def created(docker: DockerClient, request: dict[str, Any]) -> AsyncIterator[str]:
    status, made = await docker.post("/containers/create", json=request)
    assert status == 201, made
    try:
        yield made["Id"]
    finally:
        await docker.delete(f"/containers/{made['Id']}", force="1", v="1")


async def output(
    docker: DockerClient, script: str, host: dict[str, Any] | None = None, **config: Any
) -> str:
    """What a shell says that runs ``script`` to its end."""
    async with created(docker, body("sh", "-c", script, host=host, **config)) as id:
        status, answer = await docker.post(f"/containers/{id}/start")
        assert status == 204, answer
        await docker.post(f"/containers/{id}/wait")
        _, text = await docker.get(f"/containers/{id}/logs", stdout="1", stderr="1")
        return str(text).replace("\r\n", "\n").strip()


async def refused(docker: DockerClient, host: dict[str, Any], **config: Any) -> tuple[int, str]:
    """Status and words of a create, or of the start after it."""
    status, answer = await docker.post("/containers/create", json=body("true", host=host, **config))
    if status == 201:
        id = answer["Id"]
        status, answer = await docker.post(f"/containers/{id}/start")
        await docker.delete(f"/containers/{id}", force="1")
    assert status >= 400
    return status, answer["message"]


def files(*names: tuple[str, str]) -> str:
    """A script that shows cgroup files: (v1's, v2's)."""
    return "cd /sys/fs/cgroup; cat " + " ".join(v2 if V2 else v1 for v1, v2 in names)


# ---------------------------------------------------------------- limits


async def test_limits_are_in_the_cgroup(docker: DockerClient) -> None:
    limits = {
        "Memory": 64 * MIB,
        "MemorySwap": 96 * MIB,
        "MemoryReservation": 32 * MIB,
        "CpuShares": 512,
        "CpuQuota": 50_000,
        "CpuPeriod": 200_000,
        "CpusetCpus": "0",
        "CpusetMems": "0",
        "PidsLimit": 33,
    }
    script = files(
        ("memory/memory.limit_in_bytes", "memory.max"),
        ("memory/memory.soft_limit_in_bytes", "memory.low"),
        ("cpuset/cpuset.cpus", "cpuset.cpus"),
        ("cpuset/cpuset.mems", "cpuset.mems"),
        ("pids/pids.max", "pids.max"),
    )
    expected = [str(64 * MIB), str(32 * MIB), "0", "0", "33"]
    assert (await output(docker, script, limits)).split() == expected
    script = files(
        ("cpu/cpu.shares", "cpu.weight"),
        ("cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us", "cpu.max"),
        ("memory/memory.memsw.limit_in_bytes 2>/dev/null", "memory.swap.max"),
    )
    shares = "20" if V2 else "512"
    expected = [shares, "50000", "200000"]
    if V2 or MEMSW:
        expected.append(str((32 if V2 else 96) * MIB))
    assert (await output(docker, script, limits)).split() == expected
    quota = files(("cpu/cpu.cfs_quota_us", "cpu.max"))
    assert (await output(docker, quota, {"NanoCpus": 500_000_000})).split()[0] == "50000"


async def test_limits_of_block_devices(docker: DockerClient) -> None:
    major, minor, _, name = DISK
    path = f"/dev/{name}"
    limits = {
        "BlkioDeviceReadBps": [{"Path": path, "Rate": MIB}],
        "BlkioDeviceWriteBps": [{"Path": path, "Rate": 2 * MIB}],
        "BlkioDeviceReadIOps": [{"Path": path, "Rate": 100}],
        "BlkioDeviceWriteIOps": [{"Path": path, "Rate": 200}],
    }
    if V2:
        shown = await output(docker, "cat /sys/fs/cgroup/io.max", limits)
        assert shown == f"{major}:{minor} rbps={MIB} wbps={2 * MIB} riops=100 wiops=200"
    else:
        shown = await output(docker, "cat /sys/fs/cgroup/blkio/blkio.throttle.*_device", limits)
        assert sorted(line.split()[1] for line in shown.splitlines()) == sorted(
            map(str, (MIB, 2 * MIB, 100, 200))
        )
    status, words = await refused(docker, {"BlkioDeviceReadBps": [{"Path": "/dev/no", "Rate": 1}]})
    assert (status, words) == (500, "stat /dev/no: no such file or directory")
    assert (await refused(docker, {"BlkioWeight": 5}))[
        1
    ] == "Range of blkio weight is from 10 to 1000"


async def test_what_the_kernel_cannot_hold_is_dropped_and_said(docker: DockerClient) -> None:
    """As dockerd does: weights without a scheduler that has them, v1's own figures with v2."""
    asked = {
        "BlkioWeight": 300,
        "BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 300}],
        "MemorySwappiness": 10,
        "OomKillDisable": True,
        "Memory": 64 * MIB,
    }
    request = body("true", host=asked)
    status, made = await docker.post("/containers/create", json=request)
    assert status == 201, made
    told = " ".join(made["Warnings"])
    shown = (await docker.get(f"/containers/{made['Id']}/json"))[1]["HostConfig"]
    if not WEIGHTS:
        assert "Weight discarded" in told
        assert "Weight-device discarded" in told
        assert (shown["BlkioWeight"], shown["BlkioWeightDevice"]) == (0, [])
    assert ("OomKillDisable discarded" in told) is V2
    assert ("swappiness discarded" in told) is V2
    assert shown["OomKillDisable"] is (None if V2 else True)
    assert shown["MemorySwappiness"] == (None if V2 else 10)
    update = f"/containers/{made['Id']}/update"
    asked = {"BlkioWeight": 300, "KernelMemory": 1 << 30}
    status, answer = await DockerClient(docker.session, "v1.41").post(update, json=asked)
    assert status == 200, answer
    told = " ".join(answer["Warnings"])
    assert "kernel memory limit" in told
    assert ("Weight discarded" in told) is not WEIGHTS
    assert (await docker.post(update, json={"CpuShares": 64}))[1] == {"Warnings": None}
    await docker.delete(f"/containers/{made['Id']}")


async def test_ulimits_and_sysctls(docker: DockerClient) -> None:
    host = {
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "Sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"},
    }
    script = "ulimit -Sn; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    assert (await output(docker, script, host)).split() == ["100", "200", "1", "9000"]
    _, words = await refused(docker, {"Sysctls": {"vm.swappiness": "1"}})
    assert "vm.swappiness" in words


async def test_memory_beyond_the_limit(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    """The kernel's OOM killer: state, exit code and event."""
    # awk's string doubles until it is ended.
    hog = "awk 'BEGIN{s=\"x\"; while(1) s=s s}'"
    limits = {"Memory": 16 * MIB, "MemorySwap": 16 * MIB}
    async with created(docker, body("sh", "-c", f"exec {hog}", host=limits)) as id:
        await docker.post(f"/containers/{id}/start")
        assert (await docker.post(f"/containers/{id}/wait"))[1]["StatusCode"] == 137
        state = (await docker.get(f"/containers/{id}/json"))[1]["State"]
        assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
        now = f"{(await docker.get('/info'))[1]['SystemTime']}"
        told = await daemon.docker(
            *("events", "--since", "1m", "--until", now),
            *("-f", f"container={id}", "--format", "{{.Action}}"),
        )
        assert told.stdout.split()[-2:] == ["oom", "die"]


async def test_oom_scores(docker: DockerClient) -> None:
    assert await output(docker, "cat /proc/self/oom_score_adj", {"OomScoreAdj": 500}) == "500"
    _, words = await refused(docker, {"OomScoreAdj": 1001})
    assert "range for oom score adj is [-1000, 1000]" in words
    async with created(
        docker, body("cat", "/proc/1/oom_score_adj", host={"OomScoreAdj": -900})
    ) as id:
        _, shown = await docker.get(f"/containers/{id}/json")
        assert shown["HostConfig"]["OomScoreAdj"] == -900
    expected = "-900" if CAPABILITIES >> 24 & 1 else OWN_SCORE
    assert await output(docker, "cat /proc/self/oom_score_adj", {"OomScoreAdj": -900}) == expected


async def test_no_oom_killer(docker: DockerClient) -> None:
    host = {"OomKillDisable": True, "Memory": 64 * MIB}
    if not V2:
        shown = await output(docker, "cat /sys/fs/cgroup/memory/memory.oom_control", host)
        assert "oom_kill_disable 1" in shown
    request = body("true", host={"OomKillDisable": True})
    status, made = await docker.post("/containers/create", json=request)
    assert status == 201
    expected = "OomKillDisable discarded" if V2 else "no memory limit is set"
    assert expected in " ".join(made["Warnings"])
    await docker.delete(f"/containers/{made['Id']}")


# ---------------------------------------------------------------- devices


async def test_devices_and_rules(docker: DockerClient) -> None:
    zero = {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}
    host = {"Devices": [zero], "DeviceCgroupRules": ["c 4:* rw", "b *:* m"]}
    script = "stat -c %F%t:%T /dev/mine; head -c 3 /dev/mine | wc -c"
    if not V2:
        script += "; cat /sys/fs/cgroup/devices/devices.list"
    shown = (await output(docker, script, host)).splitlines()
    assert shown[:2] == ["character special file1:5", "3"]
    if not V2:
        assert "c 4:* rw" in shown
    bad: list[tuple[dict[str, Any], str]] = [
        (
            {"Devices": [{**zero, "PathOnHost": "/dev/none"}]},
            'error gathering device information while adding custom device "/dev/none": '
            "no such file or directory",
        ),
        ({"DeviceCgroupRules": ["x 1:3 r"]}, "invalid device cgroup rule format: 'x 1:3 r'"),
        (
            {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
            'could not select device driver "" with capabilities: [[gpu]]',
        ),
        (
            {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/d=none"]}]},
            "CDI device injection failed: unresolvable CDI devices vendor.com/d=none",
        ),
    ]
    for asked, words in bad:
        assert (await refused(docker, asked))[1] == words


async def test_device_rules_allow_what_they_name(docker: DockerClient) -> None:
    """Of a number that has no driver: whoever may open it learns that."""
    script = "mknod /odd c 250 77; cat /odd"
    assert "not permitted" in await output(docker, script, {})
    shown = await output(docker, script, {"DeviceCgroupRules": ["c 250:* rmw"]})
    assert "No such device" in shown


# ---------------------------------------------------------------- confinement


async def test_capabilities_and_privileges(docker: DockerClient) -> None:
    show = "awk '/CapEff|NoNewPrivs|^Seccomp:/{print $2}' /proc/self/status"
    host = {
        "CapDrop": ["ALL"],
        "CapAdd": ["net_admin", "CAP_CHOWN"],
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
    }
    assert (await output(docker, show, host)).split() == ["0000000000001001", "1", "0"]
    default = (await output(docker, show)).split()
    assert default == ["00000000a80425fb", "0", "2"]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    host = {"SecurityOpt": [f"seccomp={json.dumps(profile)}"]}
    assert "not permitted" in await output(docker, "mkdir /made; touch /other", host)
    assert (await refused(docker, {"CapAdd": ["FLY"]}))[1] == (
        'invalid CapAdd: unknown capability: "CAP_FLY"'
    )
    assert (
        "Decoding seccomp profile failed"
        in (await refused(docker, {"SecurityOpt": ["seccomp={"]}))[1]
    )
    assert (await refused(docker, {"SecurityOpt": ["odd=1"]}))[1] == (
        'invalid --security-opt 2: "odd=1"'
    )


async def test_apparmor_and_labels(docker: DockerClient) -> None:
    """Set where the host has them; elsewhere the options change nothing, as with dockerd."""
    request = body("true", host={"SecurityOpt": ["apparmor=no-such-profile", "label=disable"]})
    async with created(docker, request) as id:
        status, answer = await docker.post(f"/containers/{id}/start")
        assert status == (500 if CONFINED else 204), answer
    if CONFINED:
        shown = await output(docker, "cat /proc/self/attr/current")
        assert "enforce" in shown or shown == "unconfined"
    unconfined = {"SecurityOpt": ["apparmor=unconfined"]}
    assert "enforce" not in await output(
        docker, "cat /proc/self/attr/current 2>/dev/null", unconfined
    )


async def test_paths_that_are_masked_or_read_only(docker: DockerClient) -> None:
    masked = "for f in kcore keys timer_list interrupts; do cat /proc/$f; done 2>/dev/null | wc -c"
    script = f"{masked}; cat /proc/uptime | wc -w; echo 1 >/proc/sys/vm/swappiness || echo fixed"
    shown = (await output(docker, script)).split("\n")
    assert (shown[:2], shown[-1]) == (["0", "2"], "fixed")
    own = {"MaskedPaths": ["/proc/uptime"], "ReadonlyPaths": ["/etc"]}
    script = "cat /proc/uptime | wc -w; touch /etc/x 2>/dev/null || echo refused"
    assert (await output(docker, script, own)).split("\n") == ["0", "refused"]
    mounts = "grep -c ' /proc/' /proc/mounts; true"
    assert await output(docker, mounts, {"MaskedPaths": [], "ReadonlyPaths": []}) == "0"


async def test_a_readonly_root_tmpfs_and_shared_memory(docker: DockerClient) -> None:
    host = {
        "ReadonlyRootfs": True,
        "Tmpfs": {"/scratch": "size=1m,mode=700"},
        "ShmSize": 2 * MIB,
    }
    script = (
        "touch /x 2>/dev/null || echo fixed; touch /scratch/x && stat -c %a /scratch;"
        "df -k /scratch /dev/shm | awk 'NR>1{print $2}'"
    )
    assert (await output(docker, script, host)).split() == ["fixed", "700", "1024", "2048"]
    assert (await refused(docker, {"ShmSize": -1}))[1] == "SHM size can not be less than 0"


async def test_an_init_process_reaps(docker: DockerClient) -> None:
    zombies = "grep -l '^State:.*Z' /proc/[0-9]*/status 2>/dev/null"
    script = f"cat /proc/1/comm; (true &); while {zombies}; do sleep 0.05; done; echo reaped"
    shown = (await output(docker, script, {"Init": True})).split()
    assert shown[0] in ("docker-init", "catatonit")
    assert shown[-1] == "reaped"


# ---------------------------------------------------------------- namespaces


async def test_namespaces_are_shared_with_the_host(docker: DockerClient) -> None:
    names = ("pid", "ipc", "uts", "net", "cgroup", "user")
    show = f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done"
    host = {
        "PidMode": "host",
        "IpcMode": "host",
        "UTSMode": "host",
        "NetworkMode": "host",
        "CgroupnsMode": "host",
        "UsernsMode": "host",
    }
    shown = (await output(docker, show, host)).split()
    assert shown == [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert (await output(docker, "hostname", host)) == socket.gethostname()
    private = (await output(docker, show, {"CgroupnsMode": "private"})).split()
    alike = [a == b for a, b in zip(private, shown, strict=True)]
    assert alike == [False] * 5 + [True], "nobody's ids are mapped"


async def test_namespaces_of_another_container(docker: DockerClient) -> None:
    async with created(docker, body("sleep", "60", host={"IpcMode": "shareable"})) as owner:
        await docker.post(f"/containers/{owner}/start")
        pid = (await docker.get(f"/containers/{owner}/json"))[1]["State"]["Pid"]
        names = ("pid", "ipc", "net")
        joined = {
            "PidMode": f"container:{owner}",
            "IpcMode": f"container:{owner[:12]}",
            "NetworkMode": f"container:{owner}",
        }
        show = f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done"
        shown = (await output(docker, show, joined)).split()
        assert shown == [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
        await docker.post(f"/containers/{owner}/kill")
        for mode, words in (
            ({"PidMode": joined["PidMode"]}, "failed to join PID namespace"),
            ({"IpcMode": joined["IpcMode"]}, "failed to join IPC namespace"),
            ({"NetworkMode": joined["NetworkMode"]}, "cannot join network of a non running"),
        ):
            assert words in (await refused(docker, mode))[1]


@pytest.mark.parametrize(
    ("field", "mode", "words"),
    [
        ("PidMode", "odd", "invalid PID mode: odd"),
        ("PidMode", "container:none", "No such container: none"),
        ("IpcMode", "odd", "invalid IPC mode: odd"),
        ("UTSMode", "container:x", "invalid UTS mode: container:x"),
        ("UsernsMode", "odd", "invalid user namespace mode: odd"),
        ("CgroupnsMode", "odd", "invalid cgroup namespace mode: odd"),
        ("Cgroup", "container:x", "HostConfig.Cgroup is not supported by this daemon"),
        (
            "StorageOpt",
            {"size": "1G"},
            "HostConfig.StorageOpt size is not supported by this daemon",
        ),
        ("Isolation", "hyperv", 'invalid isolation "hyperv" on linux'),
        ("IOMaximumIOps", 5, "HostConfig.IOMaximumIOps is not supported by this daemon"),
        ("CpuPercent", 5, "HostConfig.CpuPercent is not supported by this daemon"),
        ("Runtime", "odd", "unknown or invalid runtime name: odd"),
        ("RestartPolicy", {"Name": "odd"}, "invalid restart policy: unknown policy 'odd'"),
        ("VolumesFrom", ["none"], "No such container: none"),
        ("LogConfig", {"Type": "odd"}, "logger: no log driver named 'odd' is registered"),
        ("ExtraHosts", ["odd"], 'bad format for add-host: "odd"'),
        ("Dns", ["odd"], "bad DNS server: odd"),
    ],
)
async def test_refused_by_name(docker: DockerClient, field: str, mode: Any, words: str) -> None:
    assert words in (await refused(docker, {field: mode}))[1]


async def test_parents_of_the_cgroup(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    parent = daemon.cgroup_parent("asked")
    asked = daemon.docker_cgroup_parent("asked")
    if SYSTEMD:
        status, words = await refused(docker, {"CgroupParent": parent.removesuffix(".slice")})
        assert (status, "should be a valid slice" in words) == (400, True)
    else:
        asked = f"../{asked}"
    show = "cut -d: -f3 /proc/self/cgroup"
    host = {"CgroupParent": asked, "CgroupnsMode": "host"}
    async with created(docker, body("sh", "-c", show, host=host)) as id:
        assert (await docker.post(f"/containers/{id}/start"))[0] == 204
        await docker.post(f"/containers/{id}/wait")
        text = str((await docker.get(f"/containers/{id}/logs", stdout="1"))[1])
        assert text.split(), "it told"
        assert all(line.startswith(f"{parent}/") for line in text.split()), text
        shown = (await docker.get(f"/containers/{id}/json"))[1]["HostConfig"]["CgroupParent"]
        assert shown == asked


# ---------------------------------------------------------------- names, files, runtime


async def test_names_of_hosts_and_resolvers(docker: DockerClient) -> None:
    host = {
        "NetworkMode": "bridge",
        "ExtraHosts": ["foo.test:10.9.8.7", "gate:host-gateway"],
        "Dns": ["10.1.2.3"],
        "DnsSearch": ["ex.test"],
        "DnsOptions": ["ndots:3"],
    }
    script = "hostname; hostname -d; cat /etc/hosts /etc/resolv.conf"
    shown = await output(docker, script, host, Hostname="box", Domainname="example.test")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["box"]
    for line in (
        ["10.9.8.7", "foo.test"],
        ["nameserver", "10.1.2.3"],
        ["search", "ex.test"],
        ["options", "ndots:3"],
    ):
        assert line in lines
    assert any(line[1:] == ["gate"] for line in lines)
    assert any("box" in line for line in lines[1:])


async def test_runtimes_by_name(docker: DockerClient) -> None:
    runtimes = (await docker.get("/info"))[1]["Runtimes"]
    assert {"crun", "runc"} <= set(runtimes)
    for name in ("crun", "runc", "io.containerd.runc.v2"):
        async with created(docker, body("true", host={"Runtime": name})) as id:
            assert (await docker.post(f"/containers/{id}/start"))[0] == 204
            assert (await docker.post(f"/containers/{id}/wait"))[1]["StatusCode"] == 0
            assert (await docker.get(f"/containers/{id}/json"))[1]["HostConfig"]["Runtime"] == name


async def test_annotations_reach_the_runtime(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    asked = {"Annotations": {"vendor.test/one": "1"}}
    async with created(docker, body("sleep", "60", host=asked)) as id:
        await docker.post(f"/containers/{id}/start")
        shown = (await docker.get(f"/containers/{id}/json"))[1]["HostConfig"]["Annotations"]
        assert shown == asked["Annotations"]
        config = daemon.root / "run/oci/bundles/moby" / id / "config.json"
        assert json.loads(config.read_text())["annotations"]["vendor.test/one"] == "1"
    _, words = await refused(docker, {"Annotations": {"": "x"}})
    assert "the empty string is not permitted as an annotation key" in words


async def test_platforms(docker: DockerClient) -> None:
    actual = (await docker.get("/version"))[1]["Arch"]
    other = "arm64" if actual != "arm64" else "amd64"
    create = "/containers/create"
    status, made = await docker.post(create, json=body("true"), platform=f"linux/{actual}")
    assert status == 201, made
    await docker.delete(f"/containers/{made['Id']}")
    status, answer = await docker.post(create, json=body("true"), platform=f"linux/{other}")
    assert status == 404, "the CLI pulls then"
    assert f"does not match the specified platform (linux/{other})" in answer["message"]
    status, answer = await docker.post(create, json=body("true"), platform="a/b/c/d")
    assert (status, "cannot parse platform specifier" in answer["message"]) == (400, True)


async def test_the_signal_and_the_time_to_stop(docker: DockerClient) -> None:
    trap = "trap 'exit 6' USR2; trap '' TERM; echo ready; while :; do sleep 0.05; done"
    request = body("sh", "-c", trap, StopSignal="SIGUSR2", StopTimeout=30)
    async with created(docker, request) as id:
        await docker.post(f"/containers/{id}/start")
        async with asyncio.timeout(30):
            logs = f"/containers/{id}/logs"
            while "ready" not in str((await docker.get(logs, stdout="1"))[1]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await docker.post(f"/containers/{id}/stop")
        assert (await docker.get(f"/containers/{id}/json"))[1]["State"]["ExitCode"] == 6
    deaf = body("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", StopTimeout=1)
    async with created(docker, deaf) as id:
        await docker.post(f"/containers/{id}/start")
        began = time.monotonic()
        assert (await docker.post(f"/containers/{id}/stop"))[0] == 204
        assert 1 <= time.monotonic() - began < 10, "not the 10 s of everybody"
        assert (await docker.get(f"/containers/{id}/json"))[1]["State"]["ExitCode"] == 137
    assert "invalid signal: NOPE" in (await refused(docker, {}, StopSignal="NOPE"))[1]
