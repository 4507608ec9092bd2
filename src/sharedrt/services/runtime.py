"""The root of the services: one set of them for each namespace, and what concerns all."""

import asyncio
from collections.abc import Mapping
from functools import partial

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE, Namespace
from sharedrt.services.contracts import HostInfo
from sharedrt.services.directory import NamespaceDirectory
from sharedrt.services.events import EventBus
from sharedrt.services.housekeeping import collect_garbage, each, mend_networks
from sharedrt.services.images import ImageHost, collect_orphans
from sharedrt.services.logged import logged
from sharedrt.services.namespace import NamespaceServices
from sharedrt.services.parts import Drivers, RuntimeSettings

log = structlog.get_logger(__name__)


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
        self.all_namespaces = NamespaceDirectory(drivers.database, self._bus)

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
        with logged("Docker's clients have no default networks"):
            await self.within(DOCKER_NAMESPACE).networks.ensure_defaults()
        await self._remove_unowned_snapshots()
        with logged("cannot remove what no namespace owns"):
            await collect_orphans(self._image_host, self._drivers.database)
        if not follow_policies:
            return
        for service in services:
            service.resume()
        self._owner.spawn(mend_networks(self._drivers.bridge), "mend networks")
        self._owner.spawn(collect_garbage(self._collect), "collect garbage")

    async def _collect(self) -> None:
        max_bytes = self._settings.build_cache_bytes_max
        max_age_s = self._settings.build_cache_days_max * 86400.0
        for service in list(self._services.values()):
            await each(
                f"garbage collection in {service.namespace}",
                partial(service.builds.cache.collect, max_bytes, max_age_s),
                service.images.gc,
            )
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
            with logged("cannot remove a container", container=key.id):
                await self._drivers.oci.delete(key)
        return owned

    async def _remove_unowned_snapshots(self) -> None:
        snapshotter = self._drivers.snapshotter
        known = set(await self._drivers.database.read_global(lambda tx: tx.layer_directories()))
        for directory in await snapshotter.actives_on_disk():
            if directory not in known:
                with logged("cannot remove a snapshot", snapshot=directory):
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
