"""What a container is given, seen from inside it and in the kernel's own files."""

import asyncio
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from grpclib import GRPCError, Status

from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest
from tests.real.oci_images import layer_tar, sha256
from tests.real.streaming_clients import spdy
from tests.real.test_cri import ended, output, pod, read, secured
from tests.real.test_streaming import open_streams
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

USERS: dict[str, bytes | str] = {
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\nworker:x:1500:1600::/home:/bin/sh\n",
    "etc/group": b"root:x:0:\nworkers:x:1600:\ncrew:x:1700:worker\nguests:x:1800:\n",
}
CONFIG = {
    "Entrypoint": ["/bin/sh", "-c", 'echo "$GREETING from $PWD as $(id -u):$(id -g) with $0 $*"'],
    "Cmd": ["one", "two"],
    "Env": ["PATH=/bin", "GREETING=hello"],
    "WorkingDir": "/var/www",
    "StopSignal": "SIGQUIT",
}


IMAGE_USERS = ("", "worker", "worker:guests", "1500:1800", "worker:2000", "2500")


def image_as(user: str) -> str:
    return f"example.org/as:{IMAGE_USERS.index(user)}"


def derived_images(busybox_archive: Path) -> bytes:
    """A ``docker save`` archive: busybox with users of its own, once for each of :data:`IMAGE_USERS`."""
    with tarfile.open(busybox_archive) as archive:
        member = archive.extractfile("layer.tar")
        assert member is not None
        layers = {"base.tar": member.read(), "users.tar": layer_tar(USERS)}
    members, entries = {**layers}, []
    for user in IMAGE_USERS:
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {**CONFIG, "User": user},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers.values()]},
        }
        config = json.dumps(document).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        members[name] = config
        entries.append({"Config": name, "RepoTags": [image_as(user)], "Layers": [*layers]})
    members["manifest.json"] = json.dumps(entries).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def images(
    daemon: DaemonUnderTest, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("derived") / "images.tar"
    path.write_bytes(derived_images(busybox_archive))
    await daemon.cli("-n", "k8s.io", "images", "import", str(path))


def numbers(*values: int) -> dict[str, Any]:
    """run_as_user, and run_as_group where there are two."""
    names = ("run_as_user", "run_as_group")
    return {name: pb.Int64Value(value=value) for name, value in zip(names, values, strict=False)}


# ---------------------------------------------------------------- the process


async def test_defaults_of_the_image_and_what_replaces_them(cri: CriClient, images: None) -> None:
    image = pb.ImageSpec(image=image_as("worker"))
    async with pod(cri, "defaults") as (id, config):
        text = await output(cri, id, config, [], image=image)
        assert text == "hello from /var/www as 1500:1600 with one two\n"
        text = await output(
            cri,
            id,
            config,
            [],
            args=["three", "a b"],
            envs=[pb.KeyValue(key="GREETING", value="bye")],
            working_dir="/tmp",
            image=image,
        )
        assert text == "bye from /tmp as 1500:1600 with three a b\n"
        # A command replaces the image's entrypoint, and its arguments with it.
        text = await output(cri, id, config, ["sh", "-c", "echo $# $GREETING"], image=image)
        assert text == "0 hello\n"
        created = await cri.create(id, config, "signal", [], image=image)
        assert (await cri.status(created)).stop_signal == pb.Signal.SIGQUIT


STRICT = {"supplemental_groups_policy": pb.SupplementalGroupsPolicy.Strict}


async def test_users_and_groups(cri: CriClient, images: None) -> None:
    """As containerd has it: by the image's text, by number, by name; groups of the image's own file."""
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("worker", {}, "1500 1600 1600 1700"),
        ("worker:guests", {}, "1500 1800 1800"),
        ("1500:1800", {}, "1500 1800 1800"),
        ("worker:2000", {}, "1500 2000 2000"),
        ("2500", {}, "2500 0 0"),
        ("worker", STRICT, "1500 1600 1600"),
        ("", {"run_as_username": "worker"}, "1500 1600 1600 1700"),
        ("", {"run_as_username": "worker", **STRICT}, "1500 1600 1600"),
        ("worker", numbers(1500), "1500 1600 1600 1700"),
        ("worker", numbers(1500, 1900), "1500 1900 1900 1700"),
        ("worker", {**numbers(1500, 1900), **STRICT}, "1500 1900 1900"),
        ("worker", numbers(0), "0 0 0"),
        (
            "worker",
            {"supplemental_groups": [3000, 3001]},
            "1500 1600 1600 1700 3000 3001",
        ),
        (
            "worker",
            {"supplemental_groups": [3000], **STRICT},
            "1500 1600 1600 3000",
        ),
    ]
    async with pod(cri, "users") as (id, config):

        async def one(number: int, user: str, fields: dict[str, Any]) -> str:
            command = ["sh", "-c", "echo $(id -u) $(id -g) $(id -G); sleep 60"]
            main = await cri.create(
                id,
                config,
                f"user{number}",
                command,
                image=pb.ImageSpec(image=image_as(user)),
                linux=secured(**fields),
            )
            await cri.start(main)
            status = await cri.status(main)
            await until(lambda: read(status.log_path).endswith("\n"))
            told = status.user.linux
            words = read(status.log_path).split(" F ")[1].split()
            assert [told.uid, told.gid] == [int(word) for word in words[:2]]
            assert {*told.supplemental_groups} == {int(word) for word in words[2:]}
            return " ".join([*words[:2], *sorted(words[2:])])

        for number, (user, fields, expected) in enumerate(cases):
            first, second, *groups = expected.split()
            wanted = " ".join([first, second, *sorted(groups)])
            assert await one(number, user, fields) == wanted, (user, fields)


async def test_all_capabilities_and_ambient_ones(cri: CriClient) -> None:
    async def masks(**fields: Any) -> dict[str, int]:
        text = await output(
            cri, id, config, ["grep", "^Cap", "/proc/self/status"], linux=secured(**fields)
        )
        return {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines()}

    own = next(line for line in read("/proc/self/status").splitlines() if "CapBnd" in line)
    everything = int(own.split()[1], 16)
    bind_service, net_raw = 1 << 10, 1 << 13
    async with pod(cri, "ambient") as (id, config):
        found = await masks(capabilities=pb.Capability(add_capabilities=["ALL"]))
        assert (found["CapEff"], found["CapBnd"]) == (everything, everything)
        found = await masks(
            capabilities=pb.Capability(add_capabilities=["ALL"], drop_capabilities=["NET_RAW"])
        )
        assert found["CapEff"] == everything & ~net_raw
        plain = pb.Capability(add_capabilities=["NET_BIND_SERVICE"])
        found = await masks(**numbers(1000), capabilities=plain)
        assert (found["CapEff"], found["CapAmb"]) == (0, 0), "a user has none but what a file gives"
        ambient = pb.Capability(
            drop_capabilities=["ALL"],
            add_capabilities=["NET_BIND_SERVICE"],
            add_ambient_capabilities=["NET_BIND_SERVICE"],
        )
        found = await masks(**numbers(1000), capabilities=ambient)
        assert set(found.values()) == {bind_service}
        unknown = pb.Capability(add_capabilities=["FLY"])
        with pytest.raises(GRPCError) as caught:
            await output(cri, id, config, ["true"], linux=secured(capabilities=unknown))
        assert "FLY" in (caught.value.message or "")


# ---------------------------------------------------------------- confinement


async def test_masked_and_read_only_paths(cri: CriClient) -> None:
    script = (
        "wc -c < /proc/interrupts; ls /sys/firmware | wc -l; cat /etc/passwd | wc -c;"
        " (echo 1 > /proc/sys/kernel/shm_rmid_forced) 2>&1; touch /var/www/x 2>&1; echo end"
    )
    async with pod(cri, "masks") as (id, config):
        lines = (await output(cri, id, config, ["sh", "-c", script])).splitlines()
        assert lines[0:2] == ["0", "0"], "masked by default"
        assert int(lines[2]) > 0
        assert "Read-only file system" in lines[3]
        assert lines[4] == "end"
        given = secured(masked_paths=["/etc/passwd"], readonly_paths=["/var/www"])
        lines = (await output(cri, id, config, ["sh", "-c", script], linux=given)).splitlines()
        assert lines[0] != "0", "what is given stands in place of the defaults"
        assert lines[2] == "0"
        assert lines[3] == "touch: /var/www/x: Read-only file system"
        assert lines[4] == "end"


async def test_nothing_is_masked_where_a_user_namespace_may_do_without(cri: CriClient) -> None:
    """``procMount: Unmasked``: the kubelet sends neither list."""
    mapping = pb.IdMapping(container_id=0, host_id=700_000, length=65536)
    users = pb.UserNamespace(mode=pb.NamespaceMode.POD, uids=[mapping], gids=[mapping])
    options = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER, userns_options=users)
    async with pod(cri, "unmasked", options=options) as (id, config):
        script = ["sh", "-c", "grep -c ' /proc/' /proc/self/mounts; true"]
        assert await output(cri, id, config, script, linux=secured(options)) == "0\n"
        masked = secured(options, masked_paths=["/proc/interrupts"])
        assert await output(cri, id, config, script, linux=masked) == "1\n"


async def test_the_default_profile_denies_what_no_profile_allows(
    cri: CriClient, tmp_path: Path
) -> None:
    """A new user namespace needs no capability: it is the filter alone that forbids it."""
    unconfined = pb.SecurityProfile(profile_type=pb.SecurityProfileProfileType.Unconfined)
    script = ["sh", "-c", "unshare -U true 2>&1; echo code $?; grep Seccomp: /proc/self/status"]
    async with pod(cri, "filters") as (id, config):
        text = await output(
            cri, id, config, script, linux=secured(seccomp=present(pb.SecurityProfile()))
        )
        assert "Operation not permitted" in text
        assert "code 1" in text
        assert text.split()[-1] == "2"
        text = await output(cri, id, config, script, linux=secured(seccomp=unconfined))
        assert "code 0" in text
        assert text.split()[-1] == "0"
        missing = pb.SecurityProfile(
            profile_type=pb.SecurityProfileProfileType.Localhost,
            localhost_ref=str(tmp_path / "none.json"),
        )
        with pytest.raises(GRPCError) as caught:
            await output(cri, id, config, ["true"], linux=secured(seccomp=missing))
        assert caught.value.status is Status.INVALID_ARGUMENT
        assert "none.json" in (caught.value.message or "")


async def test_privileged_has_the_hosts_devices_and_no_filter(cri: CriClient) -> None:
    script = "ls -d /dev/kmsg /dev/null; grep Seccomp: /proc/self/status; mount -o remount,rw /sys"
    async with pod(cri, "host-devices", privileged=True) as (id, config):
        text = await output(cri, id, config, ["sh", "-c", script], linux=secured(privileged=True))
    assert text.splitlines()[:2] == ["/dev/kmsg", "/dev/null"]
    assert text.split()[-1] == "0"


# ---------------------------------------------------------------- mounts


@contextmanager
def shared_folder(path: Path) -> Iterator[Path]:
    """A folder on a mount of its own, shared as a host's root file system is."""
    path.mkdir()
    run("mount", "--bind", str(path), str(path))
    run("mount", "--make-rshared", str(path))
    try:
        yield path
    finally:
        run("umount", "-R", "-l", str(path))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def make_folder(path: Path) -> None:
    path.mkdir()


def raw(path: str) -> str:
    """With its carriage returns."""
    return Path(path).read_bytes().decode()


def exists(path: str) -> bool:
    return Path(path).exists()


def is_mounted(path: Path) -> bool:
    return path.is_mount()


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_mount_propagation(cri: CriClient, tmp_path: Path, handler: str) -> None:
    with shared_folder(tmp_path / "shared") as folder:
        for name in ("later", "inside"):
            make_folder(folder / name)

        def mount(path: str, propagation: pb.MountPropagation) -> pb.Mount:
            return pb.Mount(container_path=path, host_path=str(folder), propagation=propagation)

        kinds = pb.MountPropagation
        mounts = [
            mount("/private", kinds.PROPAGATION_PRIVATE),
            mount("/slave", kinds.PROPAGATION_HOST_TO_CONTAINER),
            mount("/both", kinds.PROPAGATION_BIDIRECTIONAL),
        ]
        async with pod(cri, f"prop-{handler}", privileged=True, handler=handler) as (id, config):
            main = await cri.create(
                id, config, "main", ["sleep", "60"], mounts=mounts, linux=secured(privileged=True)
            )
            await cri.start(main)
            run("mount", "-t", "tmpfs", "none", str(folder / "later"))
            (folder / "later" / "file").touch()
            shown = await cri.exec_sync(
                main, "sh", "-c", "ls -d /private/later/file /slave/later/file /both/later/file"
            )
            assert {*shown.stdout.split()} == {b"/slave/later/file", b"/both/later/file"}
            for path in ("/private", "/slave"):
                await cri.exec_sync(main, "mount", "-t", "tmpfs", "none", f"{path}/inside")
                assert not is_mounted(folder / "inside"), path
            await cri.exec_sync(main, "umount", "/slave/inside")
            await cri.exec_sync(main, "mount", "-t", "tmpfs", "none", "/both/inside")
            assert is_mounted(folder / "inside")


async def test_propagation_needs_a_shared_mount(cri: CriClient, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    run("mount", "--bind", str(folder), str(folder))
    run("mount", "--make-private", str(folder))
    try:
        mount = pb.Mount(
            container_path="/m",
            host_path=str(folder),
            propagation=pb.MountPropagation.PROPAGATION_BIDIRECTIONAL,
        )
        async with pod(cri, "unshared", privileged=True) as (id, config):
            main = await cri.create(
                id, config, "main", ["true"], mounts=[mount], linux=secured(privileged=True)
            )
            with pytest.raises(GRPCError) as caught:
                await cri.start(main)
            assert "not a shared mount" in (caught.value.message or "")
    finally:
        run("umount", str(folder))


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_read_only_down_to_what_is_mounted_below(
    cri: CriClient, tmp_path: Path, handler: str
) -> None:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    run("mount", "-t", "tmpfs", "none", str(folder / "sub"))
    try:
        mounts = [
            pb.Mount(container_path="/plain", host_path=str(folder), readonly=True),
            pb.Mount(
                container_path="/deep",
                host_path=str(folder),
                readonly=True,
                recursive_read_only=True,
            ),
        ]
        script = (
            "for p in /plain /plain/sub /deep /deep/sub; do touch $p/x 2>/dev/null && echo $p; done;"
            " true"
        )
        async with pod(cri, f"rro-{handler}", handler=handler) as (id, config):
            text = await output(cri, id, config, ["sh", "-c", script], mounts=mounts)
    finally:
        run("umount", str(folder / "sub"))
    assert text.split() == ["/plain/sub"]


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_owners_of_a_mapped_mount(cri: CriClient, tmp_path: Path, handler: str) -> None:
    """The host's files keep their owners; the container sees them through the mount's mapping."""
    mapping = pb.IdMapping(container_id=0, host_id=800_000, length=65536)
    users = pb.UserNamespace(mode=pb.NamespaceMode.POD, uids=[mapping], gids=[mapping])
    options = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER, userns_options=users)
    folder = tmp_path / "vol"
    folder.mkdir()
    (folder / "owned").touch()
    os.chown(folder / "owned", 1000, 1001)
    os.chown(folder, 1000, 1001)
    mounts = [
        pb.Mount(
            container_path="/mapped",
            host_path=str(folder),
            uid_mappings=[mapping],
            gid_mappings=[mapping],
        ),
        pb.Mount(container_path="/plain", host_path=str(folder)),
    ]
    script = "stat -c '%u %g' /mapped/owned /plain/owned; touch /mapped/made"
    async with pod(cri, f"idmap-{handler}", options=options, handler=handler) as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", script],
            mounts=mounts,
            linux=secured(options, **numbers(1000, 1001)),
        )
    assert text.splitlines() == ["1000 1001", "65534 65534"]
    made = (folder / "made").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1001)


# ---------------------------------------------------------------- standard streams


async def attach(cri: CriClient, id: str, **streams: bool) -> str:
    request = pb.AttachRequest(container_id=id, **{"stdin": True, "stdout": True, **streams})
    return (await cri.runtime.attach(request)).url


async def test_terminal_in_the_log_and_for_who_attaches(cri: CriClient) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && echo all $TERM; read x; echo got $x; read y"
    async with pod(cri, "terminal") as (id, config):
        main = await cri.create(
            id, config, "main", ["sh", "-c", script], tty=True, stdin=True, linux=secured()
        )
        await cri.start(main)
        path = (await cri.status(main)).log_path
        await until(lambda: "all xterm" in read(path))
        async with spdy(await attach(cri, main, tty=True)) as client:
            streams = await open_streams(client, "stdin", "stdout", "resize")
            await client.send(streams["resize"], b'{"Width":101,"Height":33}')
            await client.send(streams["stdin"], b"typed\n")
            await client.wait_data(streams["stdout"], b"got typed")
            shown = await cri.exec_sync(main, "sh", "-c", "stty size < /dev/pts/0")
            assert shown.stdout == b"33 101\n"
        # A terminal may give a line and its end one after the other; conmon logs what it reads.
        whole = re.sub(r" stdout P ([^\n]*)\n\S+ stdout F ", r" stdout F \1", raw(path))
        assert "stdout F all xterm\r\n" in whole


async def test_stdin_that_outlives_its_clients_and_stdin_once(cri: CriClient) -> None:
    script = "while read line; do echo got $line; done; echo over"
    async with pod(cri, "stdin") as (id, config):
        for once in (False, True):
            main = await cri.create(
                id,
                config,
                f"once-{once}",
                ["sh", "-c", script],
                stdin=True,
                stdin_once=once,
                linux=secured(),
            )
            await cri.start(main)
            path = (await cri.status(main)).log_path
            async with spdy(await attach(cri, main)) as client:
                streams = await open_streams(client, "stdin", "stdout")
                await client.send(streams["stdin"], b"first\n")
                await client.wait_data(streams["stdout"], b"got first")
                client.drop()
            if once:
                assert (await ended(cri, main)).exit_code == 0
                assert "got first" in read(path)
                assert "over" in read(path)
                continue
            async with spdy(await attach(cri, main)) as client:
                streams = await open_streams(client, "stdin", "stdout")
                await client.send(streams["stdin"], b"second\n")
                await client.wait_data(streams["stdout"], b"got second")
            assert (await cri.status(main)).state == pb.ContainerState.CONTAINER_RUNNING
        without = await cri.create(id, config, "without", ["cat"], linux=secured())
        await cri.start(without)
        assert (await ended(cri, without)).exit_code == 0, (
            "nobody can write: it reads an end at once"
        )


# ---------------------------------------------------------------- stopping


async def test_stop_signals_and_timeouts(cri: CriClient, images: None) -> None:
    script = (
        "trap 'echo term' TERM; trap 'echo usr1; exit 3' USR1; trap 'echo quit; exit 4' QUIT;"
        " echo ready; while :; do sleep 0.05; done"
    )

    async def stop(name: str, timeout_s: int, **changes: Any) -> tuple[pb.ContainerStatus, float]:
        main = await cri.create(
            id, config, name, ["sh", "-c", script], **{"linux": secured(), **changes}
        )
        await cri.start(main)
        status = await cri.status(main)
        await until(lambda: "ready" in read(status.log_path))
        began = time.monotonic()
        request = pb.StopContainerRequest(container_id=main, timeout=timeout_s)
        await cri.runtime.stop_container(request)
        took = time.monotonic() - began
        assert (await cri.status(main)).stop_signal == status.stop_signal
        return await cri.status(main), took

    async with pod(cri, "stops") as (id, config):
        status, _ = await stop("own", 20, stop_signal=pb.Signal.SIGUSR1)
        assert (status.exit_code, status.stop_signal) == (3, pb.Signal.SIGUSR1)
        status, _ = await stop("images", 20, image=pb.ImageSpec(image=image_as("")))
        assert (status.exit_code, status.stop_signal) == (4, pb.Signal.SIGQUIT)
        status, took = await stop("deaf", 1)
        assert (status.exit_code, status.stop_signal) == (137, pb.Signal.SIGTERM)
        assert "stdout F term" in read(status.log_path)
        assert took >= 1
        status, _ = await stop("at-once", 0)
        assert status.exit_code == 137
        assert "stdout F term" not in read(status.log_path), "it is not asked first"


# ---------------------------------------------------------------- limits


V2 = exists("/sys/fs/cgroup/cgroup.controllers")


def cgroup_file(pid: int, controller: str, name: str) -> str:
    """A setting of that process's cgroup."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if V2:
            return read(f"/sys/fs/cgroup{path}/{name}").strip()
        if controller in controllers.split(","):
            return read(f"/sys/fs/cgroup/{controller}{path}/{name}").strip()
    raise AssertionError(f"no {controller} cgroup")


async def info(cri: CriClient, id: str) -> dict[str, Any]:
    reply = await cri.runtime.container_status(
        pb.ContainerStatusRequest(container_id=id, verbose=True)
    )
    value: dict[str, Any] = json.loads(reply.info["info"])
    return value


MIB = 1 << 20
LIMITS: list[tuple[str, str]] = [
    ("cpu", "cpu.weight" if V2 else "cpu.shares"),
    ("cpu", "cpu.max" if V2 else "cpu.cfs_quota_us"),
    ("cpu", "cpu.max" if V2 else "cpu.cfs_period_us"),
    ("cpuset", "cpuset.cpus"),
    ("memory", "memory.max" if V2 else "memory.limit_in_bytes"),
    ("memory", "memory.swap.max" if V2 else "memory.memsw.limit_in_bytes"),
    ("hugetlb", "hugetlb.2MB.max" if V2 else "hugetlb.2MB.limit_in_bytes"),
]
HUGE = not V2 or "hugetlb" in read("/sys/fs/cgroup/cgroup.controllers").split()
if not HUGE:  # a kernel without: the limit is refused by name, as drivers/oci's test_spec has it
    LIMITS.pop()


def huge(limit: int) -> list[pb.HugepageLimit]:
    return [pb.HugepageLimit(page_size="2MB", limit=limit)] if HUGE else []


def as_written(
    shares: int, quota: int, period: int, cpus: str, memory: int, swap: int, pages: int
) -> list[str]:
    """What the files of :data:`LIMITS` say. v2 has a weight for shares, one file for CPU time, swap without memory."""
    if not V2:
        return [str(shares), str(quota), str(period), cpus, str(memory), str(swap), str(pages)]
    time = f"{quota if quota > 0 else 'max'} {period}"
    weight = str(1 + (shares - 2) * 9999 // 262142)
    values = [weight, time, time, cpus, str(memory), str(swap - memory), str(pages)]
    return values[: len(LIMITS)]


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_limits_in_the_kernels_files_and_their_live_update(
    cri: CriClient, handler: str
) -> None:
    asked = pb.LinuxContainerResources(
        cpu_shares=512,
        cpu_quota=60_000,
        cpu_period=50_000,
        cpuset_cpus="0",
        cpuset_mems="0",
        memory_limit_in_bytes=64 * MIB,
        memory_swap_limit_in_bytes=96 * MIB,
        oom_score_adj=321,
        hugepage_limits=huge(8 * MIB),
    )
    async with pod(cri, f"files-{handler}", handler=handler) as (id, config):
        main = await cri.create(id, config, "main", ["sleep", "60"], linux=secured(resources=asked))
        await cri.start(main)
        assert (await cri.status(main)).resources.linux == asked
        pid = (await info(cri, main))["pid"]

        def values() -> list[str]:
            return [cgroup_file(pid, controller, name) for controller, name in LIMITS]

        assert values() == as_written(512, 60_000, 50_000, "0", 64 * MIB, 96 * MIB, 8 * MIB)
        assert cgroup_file(pid, "cpuset", "cpuset.mems") == "0"
        assert read(f"/proc/{pid}/oom_score_adj") == "321\n"

        async def update(**fields: Any) -> None:
            await cri.runtime.update_container_resources(
                pb.UpdateContainerResourcesRequest(
                    container_id=main, linux=pb.LinuxContainerResources(**fields)
                )
            )

        await update(
            cpu_shares=128,
            cpu_quota=20_000,
            cpu_period=100_000,
            cpuset_cpus="0-1",
            memory_limit_in_bytes=128 * MIB,
            memory_swap_limit_in_bytes=160 * MIB,
            hugepage_limits=huge(4 * MIB),
        )
        wider = (128, 20_000, 100_000, "0-1", 128 * MIB, 160 * MIB, 4 * MIB)
        assert values() == as_written(*wider)
        await update(memory_limit_in_bytes=32 * MIB, memory_swap_limit_in_bytes=32 * MIB)
        smaller = as_written(*wider[:4], 32 * MIB, 32 * MIB, 4 * MIB)
        assert values() == smaller
        await update(cpu_quota=-1)
        lifted = as_written(128, -1, 100_000, "0-1", 32 * MIB, 32 * MIB, 4 * MIB)
        assert values() == lifted, "the quota is lifted, and nothing else"
        await update(memory_limit_in_bytes=-1)
        for value in values()[4:6]:
            assert value == "max" if V2 else int(value) > 1 << 50
        shown = (await cri.status(main)).resources.linux
        assert (shown.cpu_shares, shown.cpu_quota, shown.cpuset_cpus) == (128, -1, "0-1")


async def test_unified_settings(cri: CriClient) -> None:
    """v2's files by their names; refused by name on v1."""
    resources = pb.LinuxContainerResources(unified={"memory.high": "104857600"})
    async with pod(cri, "unified") as (id, config):
        command = ["sleep", "60"]
        main = await cri.create(id, config, "main", command, linux=secured(resources=resources))
        if V2:
            await cri.start(main)
            pid = (await info(cri, main))["pid"]
            assert cgroup_file(pid, "memory", "memory.high") == "104857600"
            return
        with pytest.raises(GRPCError) as caught:
            await cri.start(main)
        assert caught.value.status is Status.FAILED_PRECONDITION
        assert "memory.high" in (caught.value.message or "")


async def test_limits_of_one_that_is_not_started_yet(cri: CriClient) -> None:
    async with pod(cri, "before") as (id, config):
        main = await cri.create(id, config, "main", ["sleep", "60"], linux=secured())
        update = pb.LinuxContainerResources(memory_limit_in_bytes=48 * MIB)
        request = pb.UpdateContainerResourcesRequest(container_id=main, linux=update)
        await cri.runtime.update_container_resources(request)
        await cri.start(main)
        stats = await cri.runtime.container_stats(pb.ContainerStatsRequest(container_id=main))
        memory = stats.stats.memory
        assert memory.available_bytes.value + memory.working_set_bytes.value == 48 * MIB
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=main))
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.update_container_resources(request)
        assert caught.value.status is Status.FAILED_PRECONDITION


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_out_of_memory_whoever_is_the_victim(cri: CriClient, handler: str) -> None:
    limits = pb.LinuxContainerResources(
        memory_limit_in_bytes=16 * MIB, memory_swap_limit_in_bytes=16 * MIB
    )
    async with pod(cri, f"oom-{handler}", handler=handler) as (id, config):
        for name, script in (("first", "exec tail /dev/zero"), ("child", "tail /dev/zero")):
            main = await cri.create(
                id, config, name, ["sh", "-c", script], linux=secured(resources=limits)
            )
            await cri.start(main)
            status = await ended(cri, main)
            assert (status.exit_code, status.reason) == (137, "OOMKilled"), name
        # Killed by somebody else: no word of memory.
        main = await cri.create(
            id, config, "other", ["sleep", "60"], linux=secured(resources=limits)
        )
        await cri.start(main)
        os.kill((await info(cri, main))["pid"], signal.SIGKILL)
        status = await ended(cri, main)
        assert (status.exit_code, status.reason) == (137, "Error")


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_reasons_of_what_could_not_start(
    cri: CriClient, tmp_path: Path, handler: str
) -> None:
    script = tmp_path / "plain"
    script.write_text("no program\n")
    mount = pb.Mount(container_path="/plain", host_path=str(script))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"command": ["/no/such"]}, 127, "StartError"),
        ({"command": ["no-such"]}, 127, "StartError"),
        ({"command": ["/plain"], "mounts": [mount]}, 126, "StartError"),
        ({"linux": secured(run_as_username="nobody-knows")}, 128, "ContainerCannotRun"),
    ]
    async with pod(cri, f"failed-{handler}", handler=handler) as (id, config):
        for number, (changes, code, reason) in enumerate(cases):
            fields: dict[str, Any] = {"command": ["true"], "linux": secured(), **changes}
            main = await cri.create(id, config, f"bad{number}", **fields)
            with pytest.raises(GRPCError):
                await cri.start(main)
            status = await cri.status(main)
            assert status.state == pb.ContainerState.CONTAINER_EXITED
            assert (status.exit_code, status.reason) == (code, reason), changes
            assert status.message
            assert status.finished_at > 0


# ---------------------------------------------------------------- verbose


async def test_verbose_status_as_crictl_inspect_shows_it(cri: CriClient) -> None:
    """The keys that containerd's users read: pid, config, runtimeSpec, snapshotKey ..."""
    async with pod(cri, "inspect") as (id, config):
        main = await cri.create(
            id,
            config,
            "main",
            ["sleep", "60"],
            envs=[pb.KeyValue(key="A", value="b")],
            linux=secured(**numbers(1000)),
        )
        before = await info(cri, main)
        assert (before["pid"], before["sandboxID"]) == (0, id)
        await cri.start(main)
        shown = await info(cri, main)
        # The runtime has let it go; the kernel may not have run it yet.
        await until(lambda: read(f"/proc/{shown['pid']}/cmdline") == "sleep\0" + "60\0")
        assert shown["config"]["command"] == ["sleep", "60"]
        assert shown["config"]["metadata"]["name"] == "main"
        assert shown["config"]["envs"] == [{"key": "A", "value": "b"}]
        assert (shown["removing"], shown["snapshotter"]) == (False, "overlayfs")
        assert shown["snapshotKey"]
        assert shown["runtimeType"] in ("crun", "runc")
        spec = shown["runtimeSpec"]
        assert spec["process"]["args"] == ["sleep", "60"]
        assert spec["process"]["user"]["uid"] == 1000
        assert "A=b" in spec["process"]["env"]
        namespaces = {entry["type"]: entry.get("path", "") for entry in spec["linux"]["namespaces"]}
        assert exists(namespaces["network"])
        assert any(mount["destination"] == "/etc/resolv.conf" for mount in spec["mounts"])
        assert spec["linux"]["cgroupsPath"]
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=main))
        after = await info(cri, main)
        assert (after["pid"], after["running"]) == (0, False)


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_execs_that_race_with_the_end(cri: CriClient, handler: str) -> None:
    """Probes that come too late are told so, whatever the OCI runtime stumbled over."""
    async with pod(cri, f"race-{handler}", handler=handler) as (id, config):
        main = await cri.create(id, config, "main", ["sleep", "0.7"], linux=secured())
        await cri.start(main)
        late = []

        async def probe() -> None:
            while True:
                await cri.exec_sync(main, "true")

        late = await asyncio.gather(*(probe() for _ in range(4)), return_exceptions=True)
    told = [(type(error), getattr(error, "status", None)) for error in late]
    assert set(told) == {(GRPCError, Status.FAILED_PRECONDITION)}, late


async def test_resources_of_a_live_pod(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """Kept and shown, also by the next daemon: the pod's cgroup itself is the kubelet's."""
    async with pod(cri, "resized") as (id, _):
        overhead = pb.LinuxContainerResources(memory_limit_in_bytes=8 * MIB)
        resources = pb.LinuxContainerResources(
            cpu_shares=512, cpu_quota=30_000, cpu_period=100_000, memory_limit_in_bytes=80 * MIB
        )
        await cri.runtime.update_pod_sandbox_resources(
            pb.UpdatePodSandboxResourcesRequest(
                pod_sandbox_id=id, overhead=overhead, resources=resources
            )
        )
        await daemon.restart()
        async with cri_client(daemon.socket("cri"), daemon.root / "pods") as later:
            reply = await later.runtime.pod_sandbox_status(
                pb.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=True)
            )
            assert reply.status.state == pb.PodSandboxState.SANDBOX_READY
        shown = json.loads(reply.info["info"])
        assert shown["overhead"]["memory_bytes"] == 8 * MIB
        assert shown["resources"]["memory_bytes"] == 80 * MIB
        assert (shown["resources"]["cpu_shares"], shown["resources"]["cpu_quota_us"]) == (
            512,
            30_000,
        )
        gone = pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id="nosuch", resources=resources)
        async with cri_client(daemon.socket("cri"), daemon.root / "pods") as later:
            with pytest.raises(GRPCError) as caught:
                await later.runtime.update_pod_sandbox_resources(gone)
            assert caught.value.status is Status.NOT_FOUND
            await later.remove_pod(id)
