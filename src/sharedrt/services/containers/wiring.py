"""What a container that is no pod's member gets of network and generated files, and what it joins."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import HostFiles, ResolvedMount, SandboxNamespaces
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import (
    ContainerRecord,
    ContainerState,
    EndpointRecord,
    NetworkRequest,
    SandboxRecord,
    SandboxState,
)
from sharedrt.model.spec import NamespaceMode, NamespaceRef
from sharedrt.services.containers.etc_files import EtcFiles, is_ipv6_disabled
from sharedrt.services.containers.link_env import link_env
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks

_SHM: Final = "shm"
_DEFAULT_SHM_BYTES: Final = 64 << 20
POD_FILES: Final = frozenset({"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/dev/shm"})
"""Where a pod's files are mounted in each of its containers, unless the client brings its own."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the bundle needs to know of the container's surroundings."""

    namespace_paths: dict[str, str]
    host_namespaces: frozenset[str]
    mounts: tuple[ResolvedMount, ...]
    hostname: str
    cgroup_parent: str
    env: tuple[str, ...] = ()
    """Variables that tell of the containers that it links to."""


class Wirer:
    """Makes and removes a container's surroundings. All steps are idempotent."""

    def __init__(
        self,
        layout: Layout,
        host: HostFiles,
        namespaces: SandboxNamespaces,
        networks: Networks,
        find_container: Callable[[str], ContainerRecord],
        find_sandbox: Callable[[str], SandboxRecord],
    ) -> None:
        self._layout = layout
        self._host = host
        self._namespaces = namespaces
        self._networks = networks
        self._etc = EtcFiles(layout, host, networks, find_container)
        self._find_container = find_container
        self._find_sandbox = find_sandbox

    async def mark(self, record: ContainerRecord) -> None:
        """Make the container's folder: there before anything else of a start is, and gone after all of it, so
        that recovery need look at those alone that have one."""
        await self._host.make_folder(self._layout.container_run(record.id), mode=0o711)

    async def unmark(self, record: ContainerRecord) -> None:
        """Remove it, the last step of an undo."""
        await self._host.remove_tree(self._layout.container_run(record.id))

    async def wire(self, record: ContainerRecord) -> Wiring:
        """Make network namespace, endpoints and files.

        Raises:
            FailedPrecondition: the pod is not ready, or a container to share with does not run.
        """
        sandbox = self._find_sandbox(record.sandbox_id) if record.sandbox_id else None
        if sandbox is not None and sandbox.state is not SandboxState.READY:
            raise FailedPrecondition("sandbox", sandbox.id, "not ready")
        paths: dict[str, str] = {}
        host: set[str] = set()
        spec = record.spec.namespaces
        for kind, ref in (
            ("network", spec.network),
            ("pid", spec.pid),
            ("ipc", spec.ipc),
            ("uts", spec.uts),
            ("cgroup", spec.cgroup),
            ("user", spec.user),
        ):
            path = self._namespace_path(kind, ref, sandbox)
            if path is None:
                host.add(kind)
            elif path:
                paths[kind] = path
        if sandbox is None and spec.network.mode is NamespaceMode.PRIVATE:
            netns = await self._make_network(record)
            paths["network"] = str(netns)
        mounts = await self._files(record, sandbox)
        hostname = record.spec.hostname or (sandbox.spec.hostname if sandbox else record.id[:12])
        parent = record.spec.cgroup_parent
        if not parent:
            parent = sandbox.spec.cgroup_parent if sandbox else ""
        return Wiring(
            paths,
            frozenset(host),
            mounts,
            hostname,
            parent or self._layout.cgroup_parent,
            tuple(self._link_env(record)),
        )

    def _link_env(self, record: ContainerRecord) -> Iterator[str]:
        told: set[str] = set()
        for alias, other, address in self._etc.linked(record):
            if alias not in told:
                told.add(alias)
                yield from link_env(record.name, alias, other, address)

    async def unplug(self, record: ContainerRecord) -> None:
        """Give back its places on networks."""
        if record.sandbox_id is None:
            await self._networks.release_owner(record.id)

    async def unpin(self, record: ContainerRecord) -> None:
        """Let go of its network namespace."""
        if record.sandbox_id is None:
            await self._namespaces.remove(self._netns_folder(record))

    def _netns_folder(self, record: ContainerRecord) -> Path:
        return self._layout.container_run(record.id) / "ns"

    async def _make_network(self, record: ContainerRecord) -> Path:
        """A pinned network namespace, with ``lo`` up, joined to what the container asked for."""
        pins = await self._namespaces.create(
            self._netns_folder(record), frozenset({"net"}), hostname="", sysctls={}
        )
        netns = pins["net"]
        for request in record.networks:
            await self._join(record, request, netns)
        return netns

    async def _join(self, record: ContainerRecord, request: NetworkRequest, netns: Path) -> None:
        """The published ports go with the first network that has a way out; from there they move by themselves."""
        placed = self._networks.endpoints_of(record.id)
        await self._networks.connect(
            request.network,
            owner=record.id,
            netns=netns,
            ports=() if any(endpoint.ports for endpoint in placed) else record.ports,
            aliases=request.aliases,
            mac=request.mac,
            address=request.address,
            address6=request.address6,
            links=request.links,
            priority=request.priority,
            interface=request.interface,
            sysctls=request.sysctls,
            link_local=request.link_local,
            ipv6=not is_ipv6_disabled(record),
        )

    # ------------------------------------------------------------ while it runs

    async def connect(self, record: ContainerRecord, request: NetworkRequest) -> None:
        """Plug a running container into a further network. Raises as :meth:`Networks.connect`; nothing is
        changed then."""
        before = self._etc.texts(record)
        await self._join(record, request, self._netns_folder(record) / "net")
        await self._etc.refresh(record, before)

    async def disconnect(self, record: ContainerRecord, endpoint: EndpointRecord) -> None:
        """Take a running container off a network."""
        before = self._etc.texts(record)
        await self._networks.disconnect(endpoint.id)
        await self._etc.refresh(record, before)

    # ------------------------------------------------------------ namespaces and files

    def _namespace_path(
        self, kind: str, ref: NamespaceRef, sandbox: SandboxRecord | None
    ) -> str | None:
        """A path to join; empty: a new one; ``None``: the host's."""
        match ref.mode:
            case NamespaceMode.PRIVATE:
                return ""
            case NamespaceMode.HOST:
                return None
            case NamespaceMode.PATH:
                return ref.target
            case NamespaceMode.CONTAINER:
                target = self._find_container(ref.target)
                if target.state is not ContainerState.RUNNING:
                    raise FailedPrecondition("container", ref.target, "is not running")
                proc = {"network": "net", "pid": "pid"}.get(kind, kind)
                return f"/proc/{target.pid}/ns/{proc}"
            case NamespaceMode.SANDBOX:
                if sandbox is None:
                    raise FailedPrecondition("container", "", f"no pod to share a {kind} namespace")
                return _sandbox_path(kind, sandbox)

    async def _files(
        self,
        record: ContainerRecord,
        sandbox: SandboxRecord | None,
    ) -> tuple[ResolvedMount, ...]:
        """/etc/resolv.conf, /etc/hosts, /etc/hostname and the pod's /dev/shm, unless the client brings
        its own."""
        taken = {mount.target.rstrip("/") for mount in record.spec.mounts}
        mode = "ro" if record.spec.security.readonly_rootfs else "rw"
        sources: dict[str, Path] = {}
        if sandbox is not None:
            folder = self._layout.sandbox_run(sandbox.id)
            names = ("resolv.conf", "hosts", "hostname")
            sources = {f"/etc/{name}": folder / name for name in names}
            if record.spec.namespaces.ipc.mode is NamespaceMode.SANDBOX:
                sources["/dev/shm"] = folder / "shm"
        else:
            # The names and addresses of who owns the network are those of all that are in it.
            owner = network_owner(record, self._find_container)
            folder = self._layout.container_run(owner)
            if owner == record.id:
                await self._etc.make(record)
            sources = {
                f"/etc/{name}": folder / name for name in ("resolv.conf", "hosts", "hostname")
            }
        if (shm := await self._shm(record)) is not None:
            sources["/dev/shm"] = shm
        return tuple(
            ResolvedMount(
                str(source),
                target,
                "bind",
                ("rbind", "rprivate", "rw" if target == "/dev/shm" else mode),
            )
            for target, source in sources.items()
            if target not in taken
        )

    async def _shm(self, record: ContainerRecord) -> Path | None:
        """Where /dev/shm comes from, when it is not the container's alone: POSIX shared memory lives there, so
        who shares an IPC namespace shares this."""
        ipc = record.spec.namespaces.ipc
        if ipc.mode is NamespaceMode.CONTAINER:
            record = self._find_container(ipc.target)
            ipc = record.spec.namespaces.ipc
            if not record.spec.shm_shared and ipc.mode is not NamespaceMode.HOST:
                raise FailedPrecondition(
                    "container",
                    record.id,
                    f"can't join IPC of container {record.id}: non-shareable IPC "
                    "(hint: use IpcMode:shareable for the donor container)",
                )
        elif record.spec.shm_shared:
            folder = self._layout.container_run(record.id) / _SHM
            size = record.spec.shm_size_bytes or _DEFAULT_SHM_BYTES
            await self._host.mount_tmpfs(folder, size_bytes=size)
        if ipc.mode is NamespaceMode.HOST:
            return Path("/dev/shm")
        return self._layout.container_run(record.id) / _SHM if record.spec.shm_shared else None


def _sandbox_path(kind: str, sandbox: SandboxRecord) -> str | None:
    match kind:
        case "network":
            return sandbox.netns_path or None
        case "ipc":
            return sandbox.ipcns_path or None
        case "uts":
            return sandbox.utsns_path or None
        case "user":
            return sandbox.userns_path or None
        case "pid":
            if sandbox.spec.host_pid:
                return None
            return f"/proc/{sandbox.pause_pid}/ns/pid"
        case _:
            raise FailedPrecondition("sandbox", sandbox.id, f"has no {kind} namespace to share")


def network_owner(record: ContainerRecord, find: Callable[[str], ContainerRecord]) -> ContainerId:
    """Whose network it is in: its own, or that of the one that it joined, who may have joined another's. One that is
    gone is named all the same."""
    while (network := record.spec.namespaces.network).mode is NamespaceMode.CONTAINER:
        try:
            record = find(network.target)
        except NotFound:
            return ContainerId(network.target)
    return record.id
