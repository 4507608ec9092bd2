"""The CRI door over a grpclib client and real containers."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError, Status

from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient
from tests.real.daemon import DaemonUnderTest
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PRIVATE_PID = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER)


@asynccontextmanager
async def pod(
    cri: CriClient,
    name: str,
    *,
    options: pb.NamespaceOption = PRIVATE_PID,
    privileged: bool = False,
    sysctls: dict[str, str] | None = None,
    handler: str = "",
    **changes: Any,
) -> AsyncIterator[tuple[str, pb.PodSandboxConfig]]:
    """A pod that is removed at the end."""
    context = pb.LinuxSandboxSecurityContext(namespace_options=options, privileged=privileged)
    linux = pb.LinuxPodSandboxConfig(security_context=context, sysctls=sysctls or {})
    config = cri.pod_config(name, **{"linux": linux, **changes})
    id = await cri.run_pod(config, handler)
    try:
        yield id, config
    finally:
        await cri.remove_pod(id)


def secured(
    options: pb.NamespaceOption = PRIVATE_PID,
    resources: pb.LinuxContainerResources | None = None,
    **fields: Any,
) -> pb.LinuxContainerConfig:
    context = pb.LinuxContainerSecurityContext(namespace_options=options, **fields)
    return pb.LinuxContainerConfig(
        security_context=context, resources=resources or pb.LinuxContainerResources()
    )


def read(path: str | Path) -> str:
    return Path(path).read_text()


def own_namespaces(*kinds: str) -> list[str]:
    """Of this process, which is in the host's."""
    return [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]


def make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)


def rotate(path: Path) -> Path:
    """As the kubelet renames a log."""
    return path.rename(path.with_suffix(".1"))


async def ended(cri: CriClient, id: str) -> pb.ContainerStatus:
    """The status after its end."""

    async def exited() -> pb.ContainerStatus | None:
        status = await cri.status(id)
        return status if status.state == pb.ContainerState.CONTAINER_EXITED else None

    status: pb.ContainerStatus = await until(exited)
    return status


async def output(
    cri: CriClient, id: str, config: pb.PodSandboxConfig, command: list[str], **changes: Any
) -> str:
    """Run a container to its end in that pod; what it wrote to stdout."""
    changes.setdefault("linux", secured())
    container = await cri.create(id, config, f"run{time.monotonic_ns()}", command, **changes)
    await cri.start(container)
    status = await ended(cri, container)
    text = read(status.log_path)
    assert status.exit_code == 0, text
    return "".join(
        line.split(" ", 3)[3] + ("\n" if " F " in line else "")
        for line in text.splitlines()
        if " stdout " in line
    )


# ---------------------------------------------------------------- the runtime


async def test_version_status_and_configuration(cri: CriClient) -> None:
    version = await cri.runtime.version(pb.VersionRequest(version="v1"))
    assert (version.runtime_name, version.runtime_api_version) == ("sharedrt", "v1")
    reply = await cri.runtime.status(pb.StatusRequest(verbose=True))
    assert {c.type: c.status for c in reply.status.conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert {handler.name for handler in reply.runtime_handlers} >= {"", "runc"}
    assert "cgroup_driver" in reply.info["config"]
    config = await cri.runtime.runtime_config(pb.RuntimeConfigRequest())
    assert config.linux.cgroup_driver in list(pb.CgroupDriver)
    cidr = pb.NetworkConfig(pod_cidr="10.1.0.0/24")
    await cri.runtime.update_runtime_config(
        pb.UpdateRuntimeConfigRequest(runtime_config=pb.RuntimeConfig(network_config=cidr))
    )
    reply = await cri.runtime.status(pb.StatusRequest(verbose=True))
    assert "10.1.0.0/24" in reply.info["config"]


# ---------------------------------------------------------------- sandboxes


async def test_life_of_a_pod(cri: CriClient) -> None:
    async with pod(cri, "life", labels={"app": "life"}, annotations={"note": "1"}) as (id, config):
        reply = await cri.runtime.pod_sandbox_status(
            pb.PodSandboxStatusRequest(pod_sandbox_id=id[:16], verbose=True)
        )
        status = reply.status
        assert status.state == pb.PodSandboxState.SANDBOX_READY
        assert status.metadata == config.metadata
        assert status.labels == {"app": "life"}
        assert status.annotations == {"note": "1"}
        assert re.fullmatch(r"10\.\d+\.\d+\.\d+", status.network.ip)
        assert status.linux.namespaces.options.pid == pb.NamespaceMode.CONTAINER
        assert '"netNamespaceClosed": false' in reply.info["info"]
        assert await listed_pods(cri, label_selector={"app": "life"}) == [id]
        assert await listed_pods(cri, label_selector={"app": "other"}) == []
        assert await listed_pods(cri, id=id[:12]) == [id]
        not_ready = pb.PodSandboxStateValue(state=pb.PodSandboxState.SANDBOX_NOTREADY)
        assert id not in await listed_pods(cri, state=not_ready)
        for _ in range(2):
            await cri.runtime.stop_pod_sandbox(pb.StopPodSandboxRequest(pod_sandbox_id=id))
            assert await listed_pods(cri, id=id, state=not_ready) == [id]
    await cri.remove_pod(id)
    with pytest.raises(GRPCError) as caught:
        await cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest(pod_sandbox_id=id))
    assert caught.value.status is Status.NOT_FOUND
    await cri.runtime.stop_pod_sandbox(pb.StopPodSandboxRequest(pod_sandbox_id=id))


async def listed_pods(cri: CriClient, **filter: Any) -> list[str]:
    request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(**filter))
    return [item.id for item in (await cri.runtime.list_pod_sandbox(request)).items]


async def test_the_same_pod_is_made_once(cri: CriClient) -> None:
    config = cri.pod_config("twice")
    ids = await asyncio.gather(*(cri.run_pod(config) for _ in range(3)))
    assert len(set(ids)) == 1
    assert await cri.run_pod(config) == ids[0]
    await cri.remove_pod(ids[0])


async def test_unknown_handler(cri: CriClient) -> None:
    with pytest.raises(GRPCError) as caught:
        await cri.run_pod(cri.pod_config("handler"), handler="kata")
    assert caught.value.status is Status.NOT_FOUND
    assert "kata" in (caught.value.message or "")
    assert all(
        item.metadata.name != "handler"
        for item in (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
    )


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_each_handler_runs_a_container(cri: CriClient, handler: str) -> None:
    status = await cri.runtime.status(pb.StatusRequest())
    if handler not in {h.name for h in status.runtime_handlers}:
        pytest.skip(f"{handler} cannot run on this host")
    config = cri.pod_config(f"by-{handler}")
    id = await cri.run_pod(config, handler=handler)
    assert "hi" in await output(cri, id, config, ["echo", "hi"])
    await cri.remove_pod(id)


async def test_hostname_dns_and_sysctls(cri: CriClient) -> None:
    dns = pb.DnsConfig(servers=["10.9.8.7"], searches=["a.example"], options=["ndots:5"])
    async with pod(
        cri,
        "names",
        hostname="myhost",
        dns_config=dns,
        sysctls={"net.ipv4.ip_local_port_range": "2000 3000", "kernel.shm_rmid_forced": "1"},
    ) as (id, config):
        script = (
            "hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts"
            " /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced"
        )
        text = await output(cri, id, config, ["sh", "-c", script])
    assert text.startswith("myhost\nmyhost\n")
    assert "nameserver 10.9.8.7" in text
    assert "search a.example" in text
    assert "options ndots:5" in text
    assert re.search(r"^10\.\S+\s+myhost$", text, re.MULTILINE)
    assert re.search(r"2000\s+3000\n1\n$", text)


async def test_host_namespaces(cri: CriClient) -> None:
    node = pb.NamespaceMode.NODE
    options = pb.NamespaceOption(network=node, pid=node, ipc=node)
    async with pod(cri, "onhost", options=options, hostname="") as (id, config):
        reply = await cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest(pod_sandbox_id=id))
        assert reply.status.network.ip == ""
        script = "for n in net pid ipc uts; do readlink /proc/self/ns/$n; done"
        text = await output(cri, id, config, ["sh", "-c", script], linux=secured(options))
    assert text.split() == own_namespaces("net", "pid", "ipc", "uts")


async def test_containers_share_their_pods_network_ipc_and_uts(cri: CriClient) -> None:
    async with pod(cri, "shares") as (id, config):
        script = ["sh", "-c", "for n in net ipc uts; do readlink /proc/self/ns/$n; done"]
        first = (await output(cri, id, config, script)).split()
        second = (await output(cri, id, config, script)).split()
    assert first == second
    assert not set(own_namespaces("net", "ipc", "uts")) & set(first)


async def test_shared_pid_namespace_and_debug_target(cri: CriClient) -> None:
    shared = pb.NamespaceOption(pid=pb.NamespaceMode.POD)
    async with pod(cri, "sharepid", options=shared) as (id, config):
        main = await cri.create(id, config, "main", ["sleep", "7771"], linux=secured(shared))
        await cri.start(main)
        text = await output(cri, id, config, ["ps"], linux=secured(shared))
        assert "sleep 7771" in text
        assert "catatonit" in text
    async with pod(cri, "target") as (id, config):
        main = await cri.create(id, config, "main", ["sleep", "7772"], linux=secured())
        await cri.start(main)
        assert "sleep 7772" not in await output(cri, id, config, ["ps"])
        target = pb.NamespaceOption(pid=pb.NamespaceMode.TARGET, target_id=main)
        assert "sleep 7772" in await output(cri, id, config, ["ps"], linux=secured(target))


async def test_user_namespace(cri: CriClient, tmp_path: Path) -> None:
    mapping = pb.IdMapping(container_id=0, host_id=700_000, length=65536)
    users = pb.UserNamespace(mode=pb.NamespaceMode.POD, uids=[mapping], gids=[mapping])
    options = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER, userns_options=users)
    async with pod(cri, "mapped", options=options) as (id, config):
        (tmp_path / "owned").write_text("text")
        volume = pb.Mount(
            container_path="/vol",
            host_path=str(tmp_path),
            uid_mappings=[mapping],
            gid_mappings=[mapping],
        )
        script = (
            "cat /proc/self/uid_map; id -u; touch /made /vol/made;"
            " stat -c %u /made /bin/busybox /vol/owned; sleep 60"
        )
        main = await cri.create(
            id, config, "main", ["sh", "-c", script], mounts=[volume], linux=secured(options)
        )
        await cri.start(main)
        status = await cri.status(main)
        await until(lambda: read(status.log_path).count("\n") >= 5)
        lines = [line.split(" ", 3)[3] for line in read(status.log_path).splitlines()]
        assert lines[0].split() == ["0", "700000", "65536"]
        assert lines[1:5] == ["0", "0", "0", "0"]
        assert (tmp_path / "made").stat().st_uid == 0
        assert status.user.linux.uid == 0
        reply = await cri.runtime.container_status(
            pb.ContainerStatusRequest(container_id=main, verbose=True)
        )
        pid = int(re.search(r'"pid": (\d+)', reply.info["info"])[1])  # type: ignore[index]
        assert "700000" in read(f"/proc/{pid}/status")


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_user_namespace_with_a_shared_pid_namespace(cri: CriClient, handler: str) -> None:
    """The pod's first process then runs as the root of the user namespace."""
    mapping = pb.IdMapping(container_id=0, host_id=700_000, length=65536)
    users = pb.UserNamespace(mode=pb.NamespaceMode.POD, uids=[mapping], gids=[mapping])
    options = pb.NamespaceOption(pid=pb.NamespaceMode.POD, userns_options=users)
    async with pod(cri, "mapped-shared", options=options, handler=handler) as (id, config):
        text = await output(cri, id, config, ["ps"], linux=secured(options))
    assert "catatonit" in text


async def test_bad_sysctl_leaves_nothing(cri: CriClient) -> None:
    with pytest.raises(GRPCError) as caught:
        async with pod(cri, "badsysctl", sysctls={"net.no.such": "1"}):
            pass
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert "net.no.such" in (caught.value.message or "")
    names = {
        item.metadata.name
        for item in (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
    }
    assert "badsysctl" not in names


# ---------------------------------------------------------------- containers


async def test_life_of_a_container(cri: CriClient) -> None:
    async with pod(cri, "single") as (id, config):
        container = await cri.create(
            id,
            config,
            "main",
            ["sh", "-c"],
            args=["trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done"],
            labels={"a": "b"},
            linux=secured(),
        )
        status = await cri.status(container)
        assert status.state == pb.ContainerState.CONTAINER_CREATED
        assert status.image_id.startswith("sha256:")
        assert (status.started_at, status.finished_at) == (0, 0)
        await cri.start(container)
        with pytest.raises(GRPCError) as again:
            await cri.start(container)
        assert again.value.status is Status.FAILED_PRECONDITION
        status = await cri.status(container)
        assert status.state == pb.ContainerState.CONTAINER_RUNNING
        assert status.started_at >= status.created_at > 0
        await until(lambda: "started" in read(status.log_path))
        running = pb.ContainerStateValue(state=pb.ContainerState.CONTAINER_RUNNING)
        for filter in (
            pb.ContainerFilter(id=container[:12]),
            pb.ContainerFilter(pod_sandbox_id=id, state=running),
            pb.ContainerFilter(label_selector={"a": "b"}),
        ):
            assert await listed(cri, filter) == [container]
        assert await listed(cri, pb.ContainerFilter(label_selector={"a": "c"})) == []
        for _ in range(2):
            await cri.runtime.stop_container(
                pb.StopContainerRequest(container_id=container, timeout=10)
            )
        status = await cri.status(container)
        assert (status.exit_code, status.reason) == (7, "Error")
        assert status.finished_at > status.started_at
        for _ in range(2):
            await cri.runtime.remove_container(pb.RemoveContainerRequest(container_id=container))
        with pytest.raises(GRPCError) as gone:
            await cri.status(container)
        assert gone.value.status is Status.NOT_FOUND


async def listed(cri: CriClient, filter: pb.ContainerFilter) -> list[str]:
    reply = await cri.runtime.list_containers(pb.ListContainersRequest(filter=filter))
    return [container.id for container in reply.containers]


async def test_the_same_container_is_made_once(cri: CriClient) -> None:
    async with pod(cri, "joined") as (id, config):
        ids = await asyncio.gather(
            *(cri.create(id, config, "main", ["true"], linux=secured()) for _ in range(4))
        )
        assert len(set(ids)) == 1
        with pytest.raises(GRPCError) as other:
            await cri.create(id, config, "main", ["false"], linux=secured())
        assert other.value.status is Status.ALREADY_EXISTS
        attempt = pb.ContainerMetadata(name="main", attempt=1)
        again = await cri.create(id, config, "main", ["true"], metadata=attempt, linux=secured())
        assert again != ids[0]


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [("exit 0", 0, "Completed"), ("exit 3", 3, "Error"), ("kill -9 $$", 137, "Error")],
)
async def test_ends_and_reasons(cri: CriClient, script: str, code: int, reason: str) -> None:
    async with pod(cri, "ends", options=pb.NamespaceOption()) as (id, config):
        container = await cri.create(
            id, config, "main", ["sh", "-c", script], linux=secured(pb.NamespaceOption())
        )
        await cri.start(container)
        status = await ended(cri, container)
        assert (status.exit_code, status.reason) == (code, reason)


async def test_oom_kill_of_the_first_process(cri: CriClient) -> None:
    async with pod(cri, "oom") as (id, config):
        resources = pb.LinuxContainerResources(
            memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20
        )
        container = await cri.create(
            id,
            config,
            "main",
            ["sh", "-c", "exec tail /dev/zero"],
            linux=secured(resources=resources),
        )
        await cri.start(container)
        status = await ended(cri, container)
        assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_command_that_does_not_exist(cri: CriClient) -> None:
    async with pod(cri, "missing") as (id, config):
        container = await cri.create(id, config, "main", ["/no/such"], linux=secured())
        with pytest.raises(GRPCError) as caught:
            await cri.start(container)
        assert "/no/such" in (caught.value.message or "")
        status = await cri.status(container)
        assert status.state == pb.ContainerState.CONTAINER_EXITED
        assert (status.reason, status.exit_code) == ("StartError", 127)


async def test_process_environment(cri: CriClient) -> None:
    async with pod(cri, "env") as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "pwd; echo $A-$B; test -t 1 || echo notty"],
            envs=[pb.KeyValue(key="A", value="x y"), pb.KeyValue(key="B", value="")],
            working_dir="/var/www",
        )
    assert text == "/var/www\nx y-\nnotty\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "0 0 0"),
        ({"run_as_user": pb.Int64Value(value=1000)}, "1000 0 0"),
        (
            {"run_as_user": pb.Int64Value(value=1000), "run_as_group": pb.Int64Value(value=2000)},
            "1000 2000 2000",
        ),
        ({"run_as_username": "nobody"}, "65534 65534 65534"),
        (
            {"run_as_user": pb.Int64Value(value=1000), "supplemental_groups": [3000, 3001]},
            "1000 0 0 3000 3001",
        ),
        (
            {
                "run_as_user": pb.Int64Value(value=1000),
                "supplemental_groups": [3000],
                "supplemental_groups_policy": pb.SupplementalGroupsPolicy.Strict,
            },
            "1000 0 0 3000",
        ),
    ],
)
async def test_users(cri: CriClient, fields: dict[str, Any], expected: str) -> None:
    async with pod(cri, "users") as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "echo $(id -u) $(id -g) $(id -G)"],
            linux=secured(**fields),
        )
    assert text.split()[:2] == expected.split()[:2]
    assert set(text.split()[2:]) == set(expected.split()[2:])


async def test_unknown_user_name(cri: CriClient) -> None:
    async with pod(cri, "nouser") as (id, config):
        container = await cri.create(
            id, config, "main", ["true"], linux=secured(run_as_username="nosuchuser")
        )
        with pytest.raises(GRPCError) as caught:
            await cri.start(container)
        assert "nosuchuser" in (caught.value.message or "")


async def capabilities(cri: CriClient, id: str, config: pb.PodSandboxConfig, **fields: Any) -> int:
    text = await output(
        cri, id, config, ["grep", "CapEff", "/proc/self/status"], linux=secured(**fields)
    )
    return int(text.split()[1], 16)


async def test_capabilities(cri: CriClient) -> None:
    net_admin, chown = 1 << 12, 1 << 0
    async with pod(cri, "caps") as (id, config):
        default = await capabilities(cri, id, config)
        assert default & chown
        assert not default & net_admin
        added = pb.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["CHOWN"])
        changed = await capabilities(cri, id, config, capabilities=added)
        assert changed == (default | net_admin) & ~chown
        none = pb.Capability(drop_capabilities=["ALL"])
        assert await capabilities(cri, id, config, capabilities=none) == 0
        one = pb.Capability(drop_capabilities=["ALL"], add_capabilities=["CHOWN"])
        assert await capabilities(cri, id, config, capabilities=one) == chown


async def test_privileged_needs_a_privileged_pod(cri: CriClient) -> None:
    async with pod(cri, "plain") as (id, config):
        with pytest.raises(GRPCError) as caught:
            await cri.create(id, config, "main", ["true"], linux=secured(privileged=True))
        assert caught.value.status is Status.INVALID_ARGUMENT
    async with pod(cri, "mighty", privileged=True) as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted"],
            linux=secured(privileged=True),
        )
    assert "mounted" in text


async def test_confinement(cri: CriClient) -> None:
    runtime_default = present(pb.SecurityProfile())
    async with pod(cri, "confined") as (id, config):
        text = await output(
            cri,
            id,
            config,
            [
                "sh",
                "-c",
                "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; touch /x 2>&1;"
                " wc -c < /proc/kcore; echo 1 2>&1 > /proc/sys/kernel/ns_last_pid; true",
            ],
            linux=secured(no_new_privs=True, readonly_rootfs=True, seccomp=runtime_default),
        )
        assert re.search(r"NoNewPrivs:\s+1", text)
        assert re.search(r"Seccomp:\s+2", text)
        assert "Read-only file system" in text
        unconfined = pb.SecurityProfile(profile_type=pb.SecurityProfileProfileType.Unconfined)
        text = await output(
            cri,
            id,
            config,
            ["grep", "Seccomp:", "/proc/self/status"],
            linux=secured(seccomp=unconfined),
        )
        assert re.search(r"Seccomp:\s+0", text)


async def test_seccomp_profile_of_the_node(cri: CriClient, tmp_path: Path) -> None:
    profile = tmp_path / "no-chmod.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmod", "fchmodat",'
        ' "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    local = pb.SecurityProfile(
        profile_type=pb.SecurityProfileProfileType.Localhost, localhost_ref=str(profile)
    )
    async with pod(cri, "seccomp") as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "touch /x; chmod 700 /x 2>&1; echo code $?"],
            linux=secured(seccomp=local),
        )
    assert "Operation not permitted" in text
    assert "code 1" in text


async def test_mounts(cri: CriClient, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "file").write_text("content\n")
    missing = tmp_path / "made" / "by-runtime"
    mounts = [
        pb.Mount(container_path="/ro", host_path=str(folder), readonly=True),
        pb.Mount(container_path="/rw", host_path=str(folder)),
        pb.Mount(container_path="/new", host_path=str(missing)),
        pb.Mount(container_path="/f", host_path=str(folder / "file"), readonly=True),
    ]
    async with pod(cri, "mounts") as (id, config):
        container = await cri.create(
            id,
            config,
            "main",
            ["sh", "-c", "cat /ro/file /f; touch /ro/x 2>&1; touch /rw/y /new/z; sleep 0.1"],
            mounts=mounts,
            linux=secured(),
        )
        await cri.start(container)
        status = await ended(cri, container)
        text = read(status.log_path)
        assert status.mounts == mounts
    assert text.count("content") == 2
    assert "Read-only file system" in text
    assert (folder / "y").exists()
    assert (missing / "z").exists()


async def test_image_as_a_volume(cri: CriClient) -> None:
    whole = pb.Mount(container_path="/img", image=pb.ImageSpec(image=IMAGE), readonly=True)
    part = pb.Mount(
        container_path="/part", image=pb.ImageSpec(image=IMAGE), image_sub_path="bin", readonly=True
    )
    async with pod(cri, "imagevolume") as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "ls /img/bin/busybox /part/busybox; touch /img/x /part/x 2>&1; true"],
            mounts=[whole, part],
        )
        assert text.startswith("/img/bin/busybox\n/part/busybox\n")
        assert text.count("Read-only file system") == 2
        absent = pb.Mount(
            container_path="/img", image=pb.ImageSpec(image="nosuch:tag"), readonly=True
        )
        with pytest.raises(GRPCError) as caught:
            await cri.create(id, config, "main", ["true"], mounts=[absent], linux=secured())
        assert caught.value.status is Status.NOT_FOUND
        for path in ("../etc", "/etc", "no/such/path"):
            mount = pb.Mount(
                container_path="/part",
                image=pb.ImageSpec(image=IMAGE),
                image_sub_path=path,
                readonly=True,
            )
            with pytest.raises(GRPCError) as caught:
                await cri.create(id, config, "out", ["true"], mounts=[mount], linux=secured())
            assert caught.value.status is Status.INVALID_ARGUMENT
        container = await cri.create(
            id, config, "told", ["true"], mounts=[whole, part], linux=secured()
        )
        status = await cri.status(container)
        assert [mount.image.image_ref for mount in status.mounts] == [status.image_id] * 2


async def test_recursive_read_only_mount(cri: CriClient, tmp_path: Path) -> None:
    status = await cri.runtime.status(pb.StatusRequest())
    if not status.runtime_handlers[0].features.recursive_read_only_mounts:
        pytest.skip("the kernel or the OCI runtime has no recursive read-only mounts")
    mount = pb.Mount(
        container_path="/host", host_path="/dev", readonly=True, recursive_read_only=True
    )
    async with pod(cri, "rro") as (id, config):
        text = await output(
            cri, id, config, ["sh", "-c", "touch /host/shm/x 2>&1; true"], mounts=[mount]
        )
    assert "Read-only file system" in text


async def test_devices(cri: CriClient) -> None:
    device = pb.Device(host_path="/dev/zero", container_path="/dev/mine", permissions="r")
    async with pod(cri, "devices") as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", "head -c 4 /dev/mine | wc -c; echo x 2>&1 > /dev/mine; true"],
            devices=[device],
        )
    assert text.startswith("4\n")


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_cdi_devices(
    daemon: DaemonUnderTest, cri: CriClient, tmp_path: Path, handler: str
) -> None:
    """All that a vendor's file asks for, from the field and from the annotation of older plugins."""
    mark = tmp_path / "hook-ran"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "driver").write_text("driver")
    make_folder(daemon.root / "cdi")
    (daemon.root / "cdi" / "vendor.yaml").write_text(
        f"""
cdiVersion: 0.6.0
kind: vendor.com/gpu
containerEdits:
  env: [VENDOR=yes]
  mounts:
  - {{hostPath: {tmp_path}/lib, containerPath: /usr/lib/vendor, options: [ro, nosuid, nodev, bind]}}
  hooks:
  - {{hookName: createRuntime, path: /bin/touch, args: [touch, {mark}]}}
devices:
- name: zero
  containerEdits: {{deviceNodes: [{{path: /dev/gpu0, hostPath: /dev/zero}}]}}
- name: full
  containerEdits: {{env: [FULL=1], deviceNodes: [{{path: /dev/gpu1, hostPath: /dev/kmsg, permissions: r}}]}}
"""
    )
    script = (
        "echo $VENDOR $FULL; cat /usr/lib/vendor/driver; head -c 3 /dev/gpu0 | wc -c;"
        " stat -c %F /dev/gpu1; (echo x > /dev/gpu1) 2>&1; true"
    )
    async with pod(cri, f"cdi-{handler}", handler=handler) as (id, config):
        text = await output(
            cri,
            id,
            config,
            ["sh", "-c", script],
            cdi_devices=[pb.CdiDevice(name="vendor.com/gpu=zero")],
            annotations={"cdi.k8s.io/vendor": "vendor.com/gpu=full"},
        )
        assert text.splitlines()[:3] == ["yes 1", "driver3", "character special file"]
        assert "Operation not permitted" in text, "it may be read alone"
        assert mark.exists()
        other = [pb.CdiDevice(name="vendor.com/gpu=none")]
        container = await cri.create(id, config, "none", ["true"], cdi_devices=other)
        with pytest.raises(GRPCError) as caught:
            await cri.start(container)
        assert caught.value.status is Status.NOT_FOUND
        status = await cri.status(container)
        assert (status.reason, status.state) == (
            "ContainerCannotRun",
            pb.ContainerState.CONTAINER_EXITED,
        )
        assert "vendor.com/gpu=none" in status.message


async def test_resources_and_their_update(cri: CriClient) -> None:
    async with pod(cri, "limits") as (id, config):
        resources = pb.LinuxContainerResources(
            cpu_period=100_000,
            cpu_quota=50_000,
            cpu_shares=256,
            memory_limit_in_bytes=64 << 20,
            oom_score_adj=500,
        )
        container = await cri.create(
            id, config, "main", ["sleep", "60"], linux=secured(resources=resources)
        )
        await cri.start(container)
        assert (await cri.status(container)).resources.linux == resources
        score = await cri.exec_sync(container, "cat", "/proc/1/oom_score_adj")
        assert score.stdout.strip() == b"500"
        stats = await cri.runtime.container_stats(pb.ContainerStatsRequest(container_id=container))
        memory = stats.stats.memory
        assert memory.available_bytes.value + memory.working_set_bytes.value == 64 << 20
        update = pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
        await cri.runtime.update_container_resources(
            pb.UpdateContainerResourcesRequest(container_id=container, linux=update)
        )
        reported = (await cri.status(container)).resources.linux
        assert (reported.memory_limit_in_bytes, reported.cpu_quota) == (96 << 20, 50_000)
        stats = await cri.runtime.container_stats(pb.ContainerStatsRequest(container_id=container))
        memory = stats.stats.memory
        assert memory.available_bytes.value + memory.working_set_bytes.value == 96 << 20


# ---------------------------------------------------------------- exec, logs, stats


async def test_exec_sync(cri: CriClient) -> None:
    async with pod(cri, "exec") as (id, config):
        container = await cri.create(id, config, "main", ["sleep", "60"], linux=secured())
        with pytest.raises(GRPCError) as early:
            await cri.exec_sync(container, "true")
        assert early.value.status is Status.FAILED_PRECONDITION
        await cri.start(container)
        reply = await cri.exec_sync(container, "sh", "-c", "echo out; echo err >&2; exit 5")
        assert (reply.stdout, reply.stderr, reply.exit_code) == (b"out\n", b"err\n", 5)
        started = time.monotonic()
        with pytest.raises(GRPCError) as late:
            await cri.exec_sync(container, "sh", "-c", "sleep 8881 & sleep 8882", timeout_s=1)
        assert late.value.status is Status.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 5
        reply = await cri.exec_sync(container, "ps")
        assert b"888" not in reply.stdout, "the whole group is killed"
        reply = await cri.exec_sync(container, "head", "-c", str(20 << 20), "/dev/zero")
        assert len(reply.stdout) == (16 << 20) - 1024
        with pytest.raises(GRPCError) as empty:
            await cri.exec_sync(container)
        assert empty.value.status is Status.INVALID_ARGUMENT


async def test_log_lines_and_reopening(cri: CriClient) -> None:
    async with pod(cri, "logs") as (id, config):
        script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.002; done"
        container = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(container)
        path = Path((await cri.status(container)).log_path)
        await until(lambda: path.read_text().count("\n") > 50)
        rotated = rotate(path)
        request = pb.ReopenContainerLogRequest(container_id=container)
        await cri.runtime.reopen_container_log(request)
        await until(lambda: path.exists() and path.read_text().count("\n") > 50)
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=container))
        lines = (read(rotated) + read(path)).splitlines()
        pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\S+ stdout F line (\d+)")
        numbers = [int(pattern.fullmatch(line)[1]) for line in lines]  # type: ignore[index]
        assert numbers == list(range(len(numbers)))
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.reopen_container_log(request)
        assert caught.value.status is Status.FAILED_PRECONDITION


async def test_stats(cri: CriClient) -> None:
    async with pod(cri, "stats", labels={"s": "1"}) as (id, config):
        container = await cri.create(
            id,
            config,
            "main",
            ["sh", "-c", "head -c 5000000 /dev/zero > /big; while :; do :; done"],
            labels={"s": "1"},
            linux=secured(),
        )
        await cri.start(container)
        await asyncio.sleep(0.3)
        filter = pb.ContainerStatsFilter(label_selector={"s": "1"})
        request = pb.ListContainerStatsRequest(filter=filter)
        await cri.runtime.list_container_stats(request)
        await asyncio.sleep(1)
        (stats,) = (await cri.runtime.list_container_stats(request)).stats
        assert stats.attributes.id == container
        assert stats.attributes.metadata.name == "main"
        assert 100_000_000 < stats.cpu.usage_nano_cores.value < 2_000_000_000
        assert stats.cpu.usage_core_nano_seconds.value > 100_000_000
        assert stats.memory.working_set_bytes.value > 0
        assert stats.writable_layer.used_bytes.value >= 5_000_000
        assert stats.writable_layer.fs_id.mountpoint.startswith("/")
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=container))
        assert (await cri.runtime.list_container_stats(request)).stats == []
        one = await cri.runtime.container_stats(pb.ContainerStatsRequest(container_id=container))
        assert one.stats.writable_layer.used_bytes.value >= 5_000_000


# ---------------------------------------------------------------- images


async def test_images(cri: CriClient) -> None:
    (image,) = (await cri.images.list_images(pb.ListImagesRequest())).images
    assert IMAGE in image.repo_tags
    assert image.size > 0
    spec = pb.ImageSpec(image=IMAGE)
    for name in (IMAGE, "busybox", image.id, image.id.removeprefix("sha256:")[:12]):
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=name), verbose=True)
        reply = await cri.images.image_status(request)
        assert reply.image.id == image.id, name
        assert "imageSpec" in reply.info["info"]
    for name in ("nosuch:tag", "!!!", "sha256:" + "0" * 64):
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=name))
        absent = await cri.images.image_status(request)
        assert absent.image.id == ""
        filter = pb.ImageFilter(image=pb.ImageSpec(image=name))
        assert (await cri.images.list_images(pb.ListImagesRequest(filter=filter))).images == []
        await cri.images.remove_image(pb.RemoveImageRequest(image=pb.ImageSpec(image=name)))
    (usage,) = (await cri.images.image_fs_info(pb.ImageFsInfoRequest())).image_filesystems
    assert usage.used_bytes.value > 1_000_000
    async with pod(cri, "uses") as (id, config):
        await cri.create(id, config, "main", ["true"], linux=secured())
        with pytest.raises(GRPCError) as caught:
            await cri.images.remove_image(pb.RemoveImageRequest(image=spec))
        assert caught.value.status is Status.FAILED_PRECONDITION


async def test_pull_errors_name_the_registry(cri: CriClient) -> None:
    spec = pb.ImageSpec(image="127.0.0.1:1/none/such:1")
    with pytest.raises(GRPCError) as caught:
        await cri.images.pull_image(pb.PullImageRequest(image=spec))
    assert caught.value.status is Status.UNAVAILABLE
    assert "127.0.0.1:1" in (caught.value.message or "")
    with pytest.raises(GRPCError) as caught:
        await cri.images.pull_image(pb.PullImageRequest(image=pb.ImageSpec(image="UPPER/Case")))
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_unknown_image(cri: CriClient) -> None:
    async with pod(cri, "noimage") as (id, config):
        image = pb.ImageSpec(image="nosuch:tag")
        with pytest.raises(GRPCError) as caught:
            await cri.create(id, config, "main", ["true"], image=image, linux=secured())
        assert caught.value.status is Status.NOT_FOUND
        assert "nosuch:tag" in (caught.value.message or "")
        assert await listed(cri, pb.ContainerFilter(pod_sandbox_id=id)) == []


# ---------------------------------------------------------------- manners


async def test_many_at_once(cri: CriClient) -> None:
    async with pod(cri, "many") as (id, config):
        container = await cri.create(id, config, "main", ["sleep", "60"], linux=secured())
        await cri.start(container)
        replies = await asyncio.gather(
            *(cri.exec_sync(container, "echo", str(i), timeout_s=60) for i in range(64))
        )
        assert [reply.stdout for reply in replies] == [f"{i}\n".encode() for i in range(64)]


async def test_empty_ids_fit_nothing(cri: CriClient) -> None:
    for call in (
        cri.runtime.container_status(pb.ContainerStatusRequest()),
        cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest()),
        cri.runtime.remove_container(pb.RemoveContainerRequest()),
        cri.runtime.remove_pod_sandbox(pb.RemovePodSandboxRequest()),
        cri.images.image_status(pb.ImageStatusRequest()),
        cri.images.remove_image(pb.RemoveImageRequest()),
    ):
        with pytest.raises(GRPCError) as caught:
            await call
        assert caught.value.status is Status.INVALID_ARGUMENT
