"""What rendered settings do in real containers, under runc and crun."""

import asyncio
import json
import os
import shutil
from dataclasses import replace

import pytest

from sharedrt.model.drivers import ResolvedMount
from sharedrt.model.spec import (
    Capabilities,
    Device,
    IdMapping,
    ImageDefaults,
    Namespaces,
    Resources,
    Seccomp,
    SeccompKind,
    Security,
)
from sharedrt.model.spec import ContainerSpec as Spec
from tests.drivers.oci.conftest import World

pytestmark = pytest.mark.real

FOLDER = (Device("/dev/mapper", "/dev/mapper"),) if os.path.isdir("/dev/mapper") else ()


async def outcome(
    world: World,
    script: str,
    spec: Spec | None = None,
    *,
    mounts: tuple[ResolvedMount, ...] = (),
    host: frozenset[str] = frozenset(),
) -> tuple[int, str]:
    """Run a script; its exit code and what it said."""
    spec = replace(spec or Spec(), args=("sh", "-c", script))
    request = world.request(spec=spec, mounts=mounts, host_namespaces=host)
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    status = await asyncio.wait_for(world.driver.wait(request.key, identity), 60)
    return status.exit_code, world.log(request.key)


async def test_mounts(world: World) -> None:
    data = world.folder / "data"
    (data / "inner").mkdir(parents=True)
    (data / "file").write_text("content")
    (data / "hosts").write_text("1.2.3.4 x")
    script = """
    cat /ro/file; echo; touch /ro/new 2>&1; touch /rw/new && echo written; cat /etc/hosts; echo
    grep -c ' /tmp tmpfs rw.*size=1024k' /proc/mounts; (: > /sys/kernel/profiling)
    """
    _, said = await outcome(
        world,
        script,
        mounts=(
            ResolvedMount(str(data), "/ro", options=("rbind", "ro")),
            ResolvedMount(str(data / "inner"), "/rw"),
            ResolvedMount(str(data / "hosts"), "/etc/hosts", options=("bind", "ro")),
            ResolvedMount("tmpfs", "/tmp", "tmpfs", ("nosuid", "nodev", "size=1m")),
        ),
    )
    assert (data / "inner/new").exists()
    lines = [line for line in said.splitlines() if line]
    assert {"content", "written", "1.2.3.4 x", "1"} <= set(lines)
    assert sum("Read-only" in line for line in lines) == 2


async def test_recursive_readonly(world: World) -> None:
    data = world.folder / "data"
    (data / "sub").mkdir(parents=True)
    await asyncio.to_thread(os.system, f"mount -t tmpfs srt {data}/sub")
    try:
        for option, writable in (("ro", True), ("rro", False)):
            mount = ResolvedMount(str(data), "/data", options=("rbind", option))
            code, _ = await outcome(world, "touch /data/sub/x", mounts=(mount,))
            assert (code == 0) is writable, option
    finally:
        await asyncio.to_thread(os.system, f"umount {data}/sub")


async def test_propagation_into_the_container(world: World) -> None:
    """HostToContainer: a mount made on the host after the start shows up inside."""
    data = world.folder / "data"
    data.mkdir()
    await asyncio.to_thread(
        os.system, f"mount -t tmpfs srt {data} && mount --make-shared {data} && mkdir {data}/sub"
    )
    try:
        mount = ResolvedMount(str(data), "/data", options=("rbind", "rslave"))
        request = world.request("sleep", "100", mounts=(mount,))
        await world.driver.create(request)
        await world.driver.start(request.key)
        await asyncio.to_thread(
            os.system, f"mount -t tmpfs srt {data}/sub && touch {data}/sub/seen"
        )
        result = await world.driver.exec_sync(request.key, ["ls", "/data/sub"], timeout_s=5)
        assert result.stdout == b"seen\n"
        await world.driver.delete(request.key)
    finally:
        await asyncio.to_thread(os.system, f"umount {data}/sub; umount {data}")


async def test_names_and_sysctls(world: World) -> None:
    script = "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"
    sysctls = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    _, said = await outcome(world, script, Spec(domainname="example.org", sysctls=sysctls))
    assert said.split() == ["testhost", "example.org", "1", "1"]


async def test_host_namespaces(world: World) -> None:
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "pid", "ipc", "uts", "cgroup")]
    script = "for n in net pid ipc uts cgroup; do ls -l /proc/self/ns/$n; done"
    host = frozenset(("network", "pid", "ipc", "uts", "cgroup"))
    _, shared = await outcome(world, script, host=host)
    _, private = await outcome(world, script)
    for name in own:
        assert name in shared
        assert name not in private


async def test_joining_namespaces(world: World) -> None:
    _, identity = await world.run("sleep", "100")
    paths = {
        kind: f"/proc/{identity.pid}/ns/{ns}"
        for kind, ns in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"))
    }
    request = replace(
        world.request("sh", "-c", "hostname; ps"), namespace_paths=paths, hostname="other"
    )
    second = await world.driver.create(request)
    await world.driver.start(request.key)
    assert (await world.driver.wait(request.key, second)).exit_code == 0
    said = world.log(request.key)
    assert said.startswith("testhost")
    assert "sleep 100" in said
    assert world.driver.alive(identity)


async def test_init_reaps_and_passes_signals(world: World) -> None:
    if shutil.which("catatonit") is None:
        pytest.skip("catatonit is missing")
    code, said = await outcome(world, "ps; exit 6", Spec(init=True))
    assert code == 6
    assert any("1 root" in line and "docker-init" in line for line in said.splitlines())


async def test_devices(world: World) -> None:
    spec = Spec(devices=(Device("/dev/full", "/dev/brim", "rw"), *FOLDER))
    script = """
    echo x > /dev/brim
    for d in null zero full random urandom tty ptmx; do test -e /dev/$d || echo no $d; done
    ls /dev
    """
    _, said = await outcome(world, script, spec)
    assert "No space left" in said
    assert "no " not in said.replace("no space", "")
    assert "kmsg" not in said


async def test_seccomp_profile(world: World) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    security = Security(seccomp=Seccomp(SeccompKind.PROFILE, json.dumps(profile)))
    code, said = await outcome(world, "mkdir /x", Spec(security=security))
    assert (code, "No space left" in said) == (1, True)


@pytest.mark.parametrize(
    ("kind", "mode"), [(SeccompKind.DEFAULT, "2"), (SeccompKind.UNCONFINED, "0")]
)
async def test_seccomp_modes(world: World, kind: SeccompKind, mode: str) -> None:
    security = Security(seccomp=Seccomp(kind), no_new_privileges=True)
    _, said = await outcome(
        world, "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status", Spec(security=security)
    )
    assert said.split() == ["NoNewPrivs:", "1", "Seccomp:", mode]


async def test_capabilities_and_masks(world: World) -> None:
    security = Security(
        capabilities=Capabilities(drop=("ALL",), add=("NET_RAW",)), readonly_rootfs=True
    )
    script = "grep CapEff /proc/self/status; head -c 1 /proc/kcore; head -c 1 /proc/keys | grep -c .; touch /x 2>&1"
    _, said = await outcome(world, script, Spec(security=security))
    assert said.split()[1] == f"{1 << 13:016x}"
    assert "Read-only" in said


async def test_user_namespace(world: World) -> None:
    mappings = (IdMapping(0, 200000, 65536),)
    spec = Spec(
        args=("sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/mine"),
        namespaces=Namespaces(uid_mappings=mappings, gid_mappings=mappings),
    )
    request = world.request(spec=spec)
    await asyncio.to_thread(os.system, f"chown -R 200000:200000 {request.rootfs}")
    for folder in (world.folder, request.rootfs.parent):
        folder.chmod(0o711)
    for folder in world.folder.parents:  # pytest's own are root's alone
        if folder.stat().st_mode & 0o1777 == 0o700:
            folder.chmod(0o755)
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    assert (await world.driver.wait(request.key, identity)).exit_code == 0, world.log(request.key)
    assert world.log(request.key).split() == ["0", "0", "200000", "65536"]
    assert (request.rootfs / "tmp/mine").stat().st_uid == 200000


async def test_process_limit(world: World) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo alive"
    _, said = await outcome(world, script, Spec(resources=Resources(pids_limit=4)))
    assert "fork" in said


async def test_shared_memory_and_cgroup_view(world: World) -> None:
    _, said = await outcome(
        world,
        "grep ' /dev/shm ' /proc/mounts; mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x 2>&1",
        Spec(shm_size_bytes=1 << 20),
    )
    assert "size=1024k" in said
    assert "Read-only" in said


async def test_image_defaults(world: World) -> None:
    image = ImageDefaults(("sh", "-c"), ("pwd; id -un; echo $A",), ("A=b",), "/tmp", "web")
    request = world.request(image=image)
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    assert (await world.driver.wait(request.key, identity)).exit_code == 0
    assert world.log(request.key).split() == ["/tmp", "web", "b"]
