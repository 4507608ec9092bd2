"""The root of the services: one set of them for each namespace, and the view over all."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from sharedrt.aio.groups import task_group
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import (
    BridgeNetwork,
    CheckpointArchives,
    CniNetwork,
    ContentStore,
    Downloader,
    GitRepositories,
    HostFiles,
    LayerUnpacker,
    LogForwarder,
    LogReader,
    LogRotator,
    NameServers,
    OciRuntime,
    PodCgroups,
    Registry,
    RootArchiver,
    SandboxNamespaces,
    Snapshotter,
    UserResolver,
    VolumeFolders,
)
from sharedrt.model.faults import (
    AlreadyDone,
    Ambiguous,
    FailedPrecondition,
    Fault,
    NotFound,
)
from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE, ContainerId, ContainerKey, Namespace
from sharedrt.model.records import (
    ContainerRecord,
    ContainerState,
    EventRecord,
    ExecRecord,
    NamespaceRecord,
    SandboxRecord,
)
from sharedrt.model.stores import Database, GlobalTransaction
from sharedrt.services.builds import Builds
from sharedrt.services.builds.service import BuildDrivers
from sharedrt.services.commits import Commits
from sharedrt.services.containers import (
    ContainerFiles,
    ContainerLife,
    ContainerMounts,
    ContainerRows,
    ContainerService,
    ContainerSnapshots,
    Wirer,
)
from sharedrt.services.containers.checkpoints import Checkpoints
from sharedrt.services.containers.log_forward import LogForwards
from sharedrt.services.containers.log_rotation import LogRotations
from sharedrt.services.containers.restores import Restores
from sharedrt.services.content import ContentService, LeaseService
from sharedrt.services.contracts import HostInfo
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.execs import ExecService
from sharedrt.services.housekeeping import collect_garbage, mend_networks
from sharedrt.services.images import ImageHost, Images, collect_orphans
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks, NetworkSettings, OwnerNames
from sharedrt.services.pod_network import PodNetwork
from sharedrt.services.pods import PodService, key_of
from sharedrt.services.volumes import Volumes, volumes_of
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Drivers:
    """The mechanisms of this host, built by ``daemon.py``."""

    database: Database
    content: ContentStore
    snapshotter: Snapshotter
    unpacker: LayerUnpacker
    archiver: RootArchiver
    volumes: VolumeFolders
    users: UserResolver
    registry: Registry
    oci: OciRuntime
    host: HostFiles
    namespaces: SandboxNamespaces
    cgroups: PodCgroups
    bridge: BridgeNetwork
    name_servers: NameServers
    cni: CniNetwork
    logs: LogReader
    checkpoints: CheckpointArchives
    log_rotator: LogRotator
    log_forwarder: LogForwarder
    downloader: Downloader
    git: GitRepositories


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What services need of the configuration."""

    state_dir: Path
    run_dir: Path
    cgroup_root: str
    systemd_cgroups: bool
    catatonit: str
    boot_id: str
    platform: str
    networks: NetworkSettings
    max_downloads: int
    max_uploads: int
    image_bytes_max: int
    build_cache_bytes_max: int = 20 << 30
    build_cache_days_max: int = 30


@contextmanager
def _logged(what: str, **object: str) -> Iterator[None]:
    """A fault of one object must not keep the daemon from serving the others."""
    try:
        yield
    except Fault as fault:
        log.error(what, **object, error=str(fault))


class NamespaceServices:
    """All that one namespace can do (:class:`sharedrt.services.contracts.NamespacedRuntime`)."""

    def __init__(
        self,
        namespace: Namespace,
        drivers: Drivers,
        settings: RuntimeSettings,
        image_host: ImageHost,
        bus: EventBus,
    ) -> None:
        self.namespace = namespace
        self._owner = TaskOwner(f"namespace {namespace}")
        self._drivers = drivers
        self._store = drivers.database.within(namespace)
        layout = Layout(
            namespace,
            settings.state_dir,
            settings.run_dir,
            settings.cgroup_root,
            settings.systemd_cgroups,
        )
        self.layout = layout
        self._containers_set = WorkingSet[ContainerRecord](
            "container", lambda r: r.id, lambda r: r.name
        )
        self._sandboxes_set = WorkingSet[SandboxRecord]("sandbox", lambda r: r.id, key_of)
        self._execs_set = WorkingSet[ExecRecord]("exec", lambda r: r.id, lambda r: "")
        self.events = NamespacedEvents(self._store, bus)
        self.images = Images(image_host, self._store, self.events, settings.platform)
        self.networks = Networks(
            self._store,
            drivers.database,
            drivers.bridge,
            settings.networks,
            self.events,
            drivers.name_servers,
            self._owner_names,
        )
        self.content = ContentService(self._store, drivers.content, self.events)
        self.leases = LeaseService(self._store)
        snapshots = ContainerSnapshots(layout, self._store, drivers.snapshotter, drivers.unpacker)
        restores = Restores(layout, self.images, drivers.oci, drivers.checkpoints, drivers.host)
        self.volumes = Volumes(
            layout,
            self._store,
            self.events,
            drivers.volumes,
            self._containers_set.list,
            self._owner,
        )
        mounts = ContainerMounts(
            layout,
            self.volumes,
            drivers.volumes,
            self.images,
            snapshots,
            drivers.host,
            drivers.archiver,
            self.events,
        )
        wirer = Wirer(
            layout,
            drivers.host,
            drivers.namespaces,
            self.networks,
            self._containers_set.get,
            self._sandboxes_set.by_id,
        )
        rows = ContainerRows(self._containers_set, self.events)
        life = ContainerLife(
            namespace,
            self._containers_set,
            rows,
            drivers.oci,
            snapshots,
            mounts,
            wirer,
            drivers.host,
            LogRotations(
                drivers.log_rotator,
                lambda id: drivers.oci.reopen_log(ContainerKey(namespace, id)),
                self._owner,
            ),
            LogForwards(layout, drivers.log_forwarder, drivers.logs, drivers.host, self._owner),
            self._owner,
            settings.boot_id,
            restores,
        )
        self.containers = ContainerService(
            layout,
            self._containers_set,
            rows,
            life,
            self.events,
            self.images,
            self.networks,
            wirer,
            snapshots,
            mounts,
            self.volumes,
            drivers.oci,
            drivers.host,
            drivers.logs,
            self._sandboxes_set.by_id,
            self._owner,
            restores,
        )
        self.files = ContainerFiles(
            layout,
            self._containers_set,
            life,
            snapshots,
            self.volumes,
            drivers.archiver,
            drivers.unpacker,
            drivers.users,
            self.events,
        )
        self.checkpoints = Checkpoints(
            namespace,
            layout,
            life,
            self.files,
            self.images,
            drivers.oci,
            drivers.checkpoints,
            drivers.host,
            self.events,
            self._owner,
        )
        self.commits = Commits(
            self.containers,
            self.files,
            self.images,
            self.events,
            settings.platform,
            drivers.downloader,
        )
        self.builds = Builds(
            layout,
            self._store,
            self.containers,
            self.files,
            self.images,
            BuildDrivers(
                drivers.snapshotter,
                drivers.unpacker,
                drivers.archiver,
                drivers.users,
                drivers.host,
                drivers.volumes,
                drivers.downloader,
                drivers.git,
            ),
            settings.platform,
        )
        self.execs = ExecService(
            namespace, self._execs_set, life, self.events, drivers.oci, self._owner
        )
        self.containers.on_removed = self.execs.forget_container
        self.pods = PodService(
            namespace,
            layout,
            self._sandboxes_set,
            lambda: self.containers,
            self.events,
            drivers.oci,
            drivers.namespaces,
            drivers.host,
            self.networks,
            PodNetwork(drivers.cni, self.networks),
            drivers.cgroups,
            self._owner,
            settings.boot_id,
            settings.catatonit,
        )
        life.on_change = self.pods.container_changed

    def _owner_names(self, ref: str) -> OwnerNames | None:
        try:
            record = self._containers_set.get(ref)
        except (NotFound, Ambiguous):
            return None
        return OwnerNames(record.id, record.name, record.spec.hostname, record.dns.servers)

    async def load(self) -> None:
        """Read the working set out of the database."""
        containers, sandboxes, execs, volumes = await self._store.read(
            lambda tx: (
                tx.containers.list(),
                tx.sandboxes.list(),
                tx.execs.list(),
                tx.volumes.list(),
            )
        )
        self.volumes.load(volumes)
        for container in containers:
            self._containers_set.put(container)
            if container.state is ContainerState.RUNNING:
                # Before any clean-up of others could unmount what it uses.
                self.volumes.note_mounted(volumes_of(container.spec.mounts), container.id)
        for sandbox in sandboxes:
            self._sandboxes_set.put(sandbox)
        for record in execs:
            self._execs_set.put(record)
        await self.images.start()

    async def recover(self, traces: Collection[str]) -> None:
        """Bring what the database says and what the machine has together.

        Networks come first: who is found to have ended gives back its place there.

        Args:
            traces: ids of containers that the OCI runtimes know of.
        """
        operations = await self._store.read(lambda tx: tx.operations.list())
        running = {c.id for c in self._containers_set if c.state is ContainerState.RUNNING}
        await self.networks.recover({*running, *(s.id for s in self._sandboxes_set)})
        await self.pods.recover(operations)
        await self.execs.recover()
        folders = await self._drivers.host.names(self.layout.containers_run_root)
        await self.checkpoints.recover(operations)
        await self.containers.recover({*traces, *folders})
        await self.builds.recover(operations)
        await self.volumes.recover()
        await self._remove_unowned()

    def resume(self) -> None:
        """Recovery of all namespaces is over: what policies say may happen now."""
        self.pods.resume()
        self.containers.resume()

    async def _remove_unowned(self) -> None:
        """Folders below ours that no row names."""
        host, layout = self._drivers.host, self.layout
        for root, known in (
            (layout.containers_run_root, self._containers_set),
            (layout.containers_state_root, self._containers_set),
            (layout.sandboxes_run_root, self._sandboxes_set),
        ):
            for name in await host.names(root):
                if known.find(name) is None:
                    log.info("removing what no row owns", path=str(root / name))
                    with _logged("cannot remove a folder", path=str(root / name)):
                        await self._drivers.namespaces.remove(root / name / "ns")
                        await host.remove_tree(root / name)

    def owns(self, id: str) -> bool:
        """Whether a container or sandbox of this id has a row here."""
        return self._containers_set.find(id) is not None or self._sandboxes_set.find(id) is not None

    async def stop_everything(self) -> None:
        """Stop all pods and containers, at the same time: each may use up its grace."""

        async def stop(container: ContainerId) -> None:
            try:
                await self.containers.stop(container)
            except (AlreadyDone, NotFound):
                log.debug("ended already", container=container)

        async with task_group() as group:
            for record in self.containers.list():
                group.create_task(stop(record.id))
        async with task_group() as group:
            for sandbox in self.pods.list():
                group.create_task(self.pods.stop(sandbox.id))

    async def remove_everything(self) -> None:
        """Remove all pods and containers. What cannot be removed is logged, and does not stop the rest."""
        for sandbox in self.pods.list():
            with _logged("cannot remove a pod", sandbox=sandbox.id):
                await self.pods.remove(sandbox.id)
        for container in self.containers.list():
            with _logged("cannot remove a container", container=container.id):
                await self.containers.remove(container.id, force=True)

    async def aclose(self) -> None:
        """Stop watching; containers run on."""
        await self.images.aclose()
        await (
            self._owner.aclose()
        )  # which undoes what is half done, and needs the networks for that
        await self.networks.aclose()


class RuntimeService:
    """Namespaces by name (:class:`sharedrt.services.contracts.Runtime`)."""

    def __init__(self, drivers: Drivers, settings: RuntimeSettings, host: HostInfo) -> None:
        self.host = host
        self._drivers = drivers
        self._settings = settings
        self._bus = EventBus()
        self._owner = TaskOwner("runtime")
        self._image_host = ImageHost(
            drivers.database,
            drivers.content,
            drivers.snapshotter,
            drivers.unpacker,
            drivers.registry,
            max_downloads=3 * settings.max_downloads,
            max_uploads=settings.max_uploads,
            image_bytes_max=settings.image_bytes_max,
        )
        self._services: dict[Namespace, NamespaceServices] = {}
        self.all_namespaces = NamespaceDirectory(drivers.database, self, self._bus)

    def within(self, namespace: Namespace) -> NamespaceServices:
        if (found := self._services.get(namespace)) is None:
            found = NamespaceServices(
                namespace, self._drivers, self._settings, self._image_host, self._bus
            )
            self._services[namespace] = found
        return found

    async def start(self, *, follow_policies: bool = True) -> None:
        """Load all namespaces, then recover: doors open after this.

        A part of the host that cannot be mended is logged; the daemon serves the rest.

        Args:
            follow_policies: then restart and remove what policies say (not when all is to be removed).
        """
        await self.all_namespaces.load()
        names = {*self.all_namespaces.names(), K8S_NAMESPACE, DOCKER_NAMESPACE}
        services = [self.within(name) for name in sorted(names)]
        await asyncio.gather(*(s.load() for s in services))
        traces = await self._remove_unowned_containers()
        for service in services:
            await service.recover(traces.get(service.namespace, frozenset()))
        await self.within(DOCKER_NAMESPACE).networks.ensure_defaults()
        await self._remove_unowned_snapshots()
        await collect_orphans(self._image_host, self._drivers.database)
        if not follow_policies:
            return
        for service in services:
            service.resume()
        self._owner.spawn(mend_networks(self._drivers.bridge), "mend networks")
        self._owner.spawn(collect_garbage(self._collect), "collect garbage")

    async def _collect(self) -> None:
        settings = self._settings
        for service in list(self._services.values()):
            await service.builds.cache.collect(
                settings.build_cache_bytes_max, settings.build_cache_days_max * 86400.0
            )
            await service.images.gc()
        await collect_orphans(self._image_host, self._drivers.database)

    async def _remove_unowned_containers(self) -> Mapping[Namespace, set[str]]:
        """The ids that have an owner, by namespace."""
        owned: dict[Namespace, set[str]] = {}
        for key in await self._drivers.oci.leftovers():
            service = self._services.get(key.namespace)
            if service is not None and service.owns(key.id):
                owned.setdefault(key.namespace, set()).add(key.id)
                await self._drivers.oci.end_lost_execs(key)
                continue
            log.info("removing a container that no row owns", container=key.id)
            with _logged("cannot remove a container", container=key.id):
                await self._drivers.oci.delete(key)
        return owned

    async def _remove_unowned_snapshots(self) -> None:
        snapshotter = self._drivers.snapshotter
        known = set(await self._drivers.database.read_global(lambda tx: tx.layer_directories()))
        for directory in await snapshotter.actives_on_disk():
            if directory not in known:
                with _logged("cannot remove a snapshot", snapshot=directory):
                    await snapshotter.remove_active(directory)

    async def stop_everything(self) -> None:
        """Stop every pod and container of every namespace, for the administrator."""
        for service in list(self._services.values()):
            await service.stop_everything()

    async def remove_everything(self) -> None:
        """Remove every pod and container, every network and cgroup of ours: the purge."""
        for service in list(self._services.values()):
            await service.remove_everything()
        await self._drivers.bridge.flush()
        await self._drivers.oci.purge()

    async def aclose(self) -> None:
        await self._owner.aclose()
        for service in self._services.values():
            await service.aclose()


class NamespaceDirectory:
    """The administrator's view (:class:`sharedrt.services.contracts.AllNamespaces`)."""

    def __init__(self, database: Database, runtime: RuntimeService, bus: EventBus) -> None:
        self._database, self._runtime, self._bus = database, runtime, bus
        self._records: dict[Namespace, NamespaceRecord] = {}

    async def load(self) -> None:
        records = await self._database.read_global(lambda tx: tx.namespaces())
        self._records = {record.name: record for record in records}

    def names(self) -> Sequence[Namespace]:
        return list(self._records)

    async def list(self) -> Sequence[NamespaceRecord]:
        await self.load()
        return list(self._records.values())

    async def create(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        record = NamespaceRecord(name, dict(labels), created_ns=time.time_ns())
        record = await self._database.write_global(lambda tx: tx.add_namespace(record))
        self._records[name] = record
        return record

    async def set_labels(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        record = await self._database.write_global(
            lambda tx: tx.set_namespace_labels(name, dict(labels))
        )
        self._records[name] = record
        return record

    async def delete(self, name: Namespace) -> None:
        if name in (K8S_NAMESPACE, DOCKER_NAMESPACE):
            raise FailedPrecondition("namespace", name, "belongs to a door of this daemon")

        def delete(tx: GlobalTransaction) -> None:
            if all(record.name != name for record in tx.namespaces()):
                raise NotFound("namespace", name)
            tx.delete_namespace(name)

        await self._database.write_global(delete)
        self._records.pop(name, None)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[tuple[Namespace, EventRecord]]]:
        async with self._bus.subscription(None) as live:

            async def events() -> AsyncIterator[tuple[Namespace, EventRecord]]:
                while True:
                    yield await live.next()

            yield events()
