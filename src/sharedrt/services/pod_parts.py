"""What a sandbox consists of: pinned namespaces, network, shared files, a first process where it shares PIDs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from sharedrt.model.drivers import (
    BundleRequest,
    HostFiles,
    OciRuntime,
    ProcessIdentity,
    ResolvedMount,
    SandboxNamespaces,
)
from sharedrt.model.faults import (
    InvalidArgument,
)
from sharedrt.model.ids import (
    ContainerId,
    ContainerKey,
    Namespace,
)
from sharedrt.model.records import (
    SandboxRecord,
)
from sharedrt.model.spec import (
    ContainerSpec,
    IdMapping,
    ImageDefaults,
    NamespaceMode,
    NamespaceRef,
    Namespaces,
    Security,
)
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks
from sharedrt.services.pod_network import PodNetwork
from sharedrt.wire.resolv_conf import hosts_file

log = structlog.get_logger(__name__)

SHM_BYTES: Final = 64 << 20
_PAUSE_ROOT: Final = "pause-root"


def _root_of(mappings: Sequence[tuple[int, int, int]]) -> int:
    """The host's id of id 0 in a user namespace; 0 without one."""
    return next((host - first for first, host, size in mappings if first <= 0 < first + size), 0)


def _mappings(ranges: Sequence[tuple[int, int, int]]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(*each) for each in ranges)


class PodParts:
    """Makes what the sandboxes of one namespace consist of, and takes it away."""

    def __init__(
        self,
        namespace: Namespace,
        layout: Layout,
        runtime: OciRuntime,
        namespaces: SandboxNamespaces,
        host: HostFiles,
        networks: Networks,
        pod_network: PodNetwork,
        catatonit: str,
    ) -> None:
        self._namespace = namespace
        self._layout = layout
        self._runtime = runtime
        self._namespaces = namespaces
        self._host = host
        self._networks = networks
        self._pod_network = pod_network
        self._catatonit = catatonit

    async def make(self, record: SandboxRecord, note: Callable[[SandboxRecord], None]) -> None:
        """Make it, step by step; ``note`` gets the record of what there is by then."""
        folder = self._layout.sandbox_run(record.id)
        spec = record.spec
        kinds = {"uts", "net", "ipc"}
        if spec.host_network:
            kinds -= {"net", "uts"}
        if spec.host_ipc:
            kinds.discard("ipc")
        if spec.user_mappings:
            kinds.add("user")
        self._check_sysctls(record)
        pins = await self._namespaces.create(
            folder / "ns",
            frozenset(kinds),
            hostname=spec.hostname,
            sysctls=spec.sysctls,
            user_mappings=spec.user_mappings,
            group_mappings=spec.group_mappings,
        )
        record = replace(
            record,
            netns_path=str(pins.get("net", "")),
            ipcns_path=str(pins.get("ipc", "")),
            utsns_path=str(pins.get("uts", "")),
            userns_path=str(pins.get("user", "")),
        )
        note(record)
        if not spec.host_network:
            addresses, cni_result = await self._pod_network.attach(record, pins["net"])
            record = replace(record, addresses=tuple(addresses), cni_result=cni_result)
            note(record)
        await self._write_files(record, folder)
        if spec.share_pid:
            identity = await self._start_pause(record, folder)
            note(replace(record, pause_pid=identity.pid, pause_start_ticks=identity.start_ticks))

    def _check_sysctls(self, record: SandboxRecord) -> None:
        for name in record.spec.sysctls:
            if record.spec.host_network and name.startswith("net."):
                raise InvalidArgument("sysctl", name, "not allowed with the host's network")
            if record.spec.host_ipc and name.startswith(("kernel.", "fs.mqueue.")):
                raise InvalidArgument("sysctl", name, "not allowed with the host's IPC")

    async def _write_files(self, record: SandboxRecord, folder: Path) -> None:
        hostname = record.spec.hostname or record.name
        dns = self._networks.resolv_conf(record.spec.dns, host_network=record.spec.host_network)
        await self._host.write(
            folder,
            {
                "hostname": f"{hostname}\n".encode(),
                "hosts": hosts_file(hostname, record.addresses, ()).encode(),
                "resolv.conf": dns.encode(),
            },
        )
        if not record.spec.host_ipc:
            await self._host.mount_tmpfs(folder / "shm", size_bytes=SHM_BYTES)

    async def _start_pause(self, record: SandboxRecord, folder: Path) -> ProcessIdentity:
        """catatonit as the first process of the pod's PID namespace."""
        key = self.pause_key(record)
        paths = record.namespace_paths
        root = folder / _PAUSE_ROOT
        # The runtime makes mount points there, as the root of the pod's own user namespace if it has one.
        owner = (_root_of(record.spec.user_mappings), _root_of(record.spec.group_mappings))
        await self._host.make_folder(root, owner=owner)
        identity = await self._runtime.create(
            BundleRequest(
                key=key,
                handler=record.runtime_handler,
                rootfs=root,
                spec=ContainerSpec(
                    command=("/catatonit", "-P"),
                    namespaces=Namespaces(
                        pid=NamespaceRef(NamespaceMode.PRIVATE),
                        # runc wants them beside the namespace's path.
                        uid_mappings=_mappings(record.spec.user_mappings),
                        gid_mappings=_mappings(record.spec.group_mappings),
                    ),
                    security=Security(no_new_privileges=True),
                    oom_score_adj=-998,
                ),
                image=ImageDefaults(),
                hostname="",
                cgroup_parent=record.spec.cgroup_parent or self._layout.cgroup_parent,
                namespace_paths=paths,
                host_namespaces=frozenset({"network", "ipc", "uts"} - paths.keys()),
                mounts=(ResolvedMount(self._catatonit, "/catatonit", "bind", ("bind", "ro")),),
            )
        )
        await self._runtime.start(key)
        return identity

    def pause_key(self, record: SandboxRecord) -> ContainerKey:
        """Of its first process, to the OCI runtime."""
        return ContainerKey(self._namespace, ContainerId(record.id))

    async def tear_down(self, record: SandboxRecord) -> None:
        """All away, of whatever there is. Idempotent."""
        await self._runtime.delete(self.pause_key(record))
        folder = self._layout.sandbox_run(record.id)
        if not record.spec.host_network:
            netns = folder / "ns" / "net"
            if not record.netns_path and await self._host.exists(netns):
                # Cut off before it was recorded; plugins want to know it.
                record = replace(record, netns_path=str(netns))
            await self._pod_network.detach(record)
        await self._namespaces.remove(folder / "ns")
        await self._host.remove_tree(folder)
