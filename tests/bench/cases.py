"""What is measured: each case does one piece of work through one daemon's own door, and undoes it untimed."""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sharedrt.pb.runtime.v1 import (
    LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext,
    NamespaceMode,
    NamespaceOption,
    PodSandboxConfig,
)
from tests.bench.sides import Side
from tests.real.clients import CriClient, DockerClient

_names = itertools.count()


@dataclass(frozen=True)
class Clients:
    """Open connections to one daemon, so that no case pays for a connection."""

    side: Side
    cri: CriClient | None = None
    docker: DockerClient | None = None


Case = Callable[[Clients], Awaitable[float]]


def cgroup_parent(number: int) -> str:
    """Of all pods: given, as by a kubelet, so that no daemon uses one of its own choice."""
    return f"srb{number}"


def _pod(clients: Clients, *, host_network: bool) -> PodSandboxConfig:
    assert clients.cri is not None
    mode = NamespaceMode.NODE if host_network else NamespaceMode.POD
    security = LinuxSandboxSecurityContext(namespace_options=NamespaceOption(network=mode))
    linux = LinuxPodSandboxConfig(
        cgroup_parent=f"/{cgroup_parent(clients.side.number)}", security_context=security
    )
    name = f"bench{next(_names)}"
    # As a kubelet: the host's network has the host's name.
    return clients.cri.pod_config(name, linux=linux, hostname="" if host_network else name)


async def start_pod(clients: Clients, *, host_network: bool) -> tuple[str, str]:
    """A pod with one sleeping container: their ids."""
    cri = clients.cri
    assert cri is not None
    config = _pod(clients, host_network=host_network)
    pod = await cri.run_pod(config)
    container = await cri.create(pod, config, "main", ["sleep", "600"])
    await cri.start(container)
    return pod, container


def pod_start(*, host_network: bool) -> Case:
    async def case(clients: Clients) -> float:
        assert clients.cri is not None
        began = time.perf_counter()
        pod, _ = await start_pod(clients, host_network=host_network)
        taken = time.perf_counter() - began
        await clients.cri.remove_pod(pod)
        return taken

    return case


async def pod_removal(clients: Clients) -> float:
    assert clients.cri is not None
    pod, _ = await start_pod(clients, host_network=False)
    began = time.perf_counter()
    await clients.cri.remove_pod(pod)
    return time.perf_counter() - began


async def exec_sync(clients: Clients) -> float:
    """A kubelet's exec probe."""
    assert clients.cri is not None
    pod, container = await start_pod(clients, host_network=True)
    began = time.perf_counter()
    reply = await clients.cri.exec_sync(container, "true")
    taken = time.perf_counter() - began
    assert reply.exit_code == 0
    await clients.cri.remove_pod(pod)
    return taken


def docker_run(network: str) -> Case:
    """The whole command, the CLI's own start included."""

    async def case(clients: Clients) -> float:
        socket = clients.side.docker
        assert socket is not None
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(
                "docker",
                "--host",
                f"unix://{socket}",
                "run",
                "--rm",
                "--network",
                network,
                "busybox",
                "true",
            ),
            env={**os.environ, "DOCKER_CONFIG": str(socket.parent)},
        )
        code = await process.wait()
        assert code == 0, f"docker run: {code}"
        return time.perf_counter() - began

    return case


async def http_life(clients: Clients) -> float:
    """Create, start, wait and remove over HTTP: a container's life without a CLI."""
    docker = clients.docker
    assert docker is not None
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    began = time.perf_counter()
    status, created = await docker.post("/containers/create", json=body)
    assert status == 201, created
    status, reply = await docker.post(f"/containers/{created['Id']}/start")
    assert status == 204, reply
    status, reply = await docker.post(f"/containers/{created['Id']}/wait")
    assert (status, reply["StatusCode"]) == (200, 0)
    await docker.delete(f"/containers/{created['Id']}")
    return time.perf_counter() - began


CRI_CASES: dict[str, Case] = {
    "CRI: pod + container start, host network": pod_start(host_network=True),
    "CRI: pod + container start, bridge": pod_start(host_network=False),
    "CRI: remove a running pod, bridge": pod_removal,
    "CRI: ExecSync true": exec_sync,
}
DOCKER_CASES: dict[str, Case] = {
    "docker run --rm --network none busybox true": docker_run("none"),
    "docker run --rm busybox true, bridge": docker_run("bridge"),
    "HTTP: create, start, wait, remove": http_life,
}
