"""All that one namespace can do: its services, built, loaded and recovered together."""

from collections.abc import Collection

import structlog

from sharedrt.aio.groups import task_group
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.faults import (
    AlreadyDone,
    Ambiguous,
    NotFound,
)
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.records import (
    ContainerRecord,
    ContainerState,
    ExecRecord,
    SandboxRecord,
)
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
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.execs import ExecService
from sharedrt.services.images import ImageHost, Images
from sharedrt.services.layout import Layout
from sharedrt.services.logged import logged
from sharedrt.services.networks import Networks, OwnerNames
from sharedrt.services.parts import Drivers, RuntimeSettings
from sharedrt.services.pod_network import PodNetwork
from sharedrt.services.pods import PodService, key_of
from sharedrt.services.volumes import Volumes, volumes_of
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)


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
        self.content = ContentService(self._store, image_host, self.events)
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
        await self.commits.recover(operations)
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
                    with logged("cannot remove a folder", path=str(root / name)):
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
            with logged("cannot remove a pod", sandbox=sandbox.id):
                await self.pods.remove(sandbox.id)
        for container in self.containers.list():
            with logged("cannot remove a container", container=container.id):
                await self.containers.remove(container.id, force=True)

    async def aclose(self) -> None:
        """Stop watching; containers run on."""
        await self.images.aclose()
        await (
            self._owner.aclose()
        )  # which undoes what is half done, and needs the networks for that
        await self.networks.aclose()
