"""All that a start makes on the host, and its undoing."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import BundleRequest, HostFiles, OciRuntime, ProcessIdentity
from sharedrt.model.faults import Fault
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.records import ContainerRecord
from sharedrt.services.containers.attach import WaitingClients
from sharedrt.services.containers.log_rotation import writer_bound
from sharedrt.services.containers.mounts import ContainerMounts
from sharedrt.services.containers.restores import Restores
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.containers.wiring import Wirer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that was let go. ``started_ns`` is before its first instruction."""

    identity: ProcessIdentity
    started_ns: int


class Launcher:
    """Mounts, wires, creates and starts; and takes all of it away again."""

    def __init__(
        self,
        namespace: Namespace,
        runtime: OciRuntime,
        snapshots: ContainerSnapshots,
        mounts: ContainerMounts,
        wirer: Wirer,
        host: HostFiles,
        waiting: WaitingClients,
        restores: Restores,
    ) -> None:
        self._namespace = namespace
        self._runtime = runtime
        self._snapshots = snapshots
        self._mounts = mounts
        self._wirer = wirer
        self._host = host
        self._waiting = waiting
        self._restores = restores
        self._unclean: set[ContainerId] = set()
        self.private_env: dict[ContainerId, tuple[str, ...]] = {}
        """Variables that are in no record: secrets of builds."""

    def key(self, id: ContainerId) -> ContainerKey:
        return ContainerKey(self._namespace, id)

    async def launch(self, record: ContainerRecord) -> Launched:
        """Run the container's process. What a failed or cancelled call has made is there still: :meth:`undo`."""
        key = self.key(record.id)
        await self._wirer.mark(record)
        if record.spec.restored and (changes := await self._restores.changes(record.id)):
            await self._snapshots.fill(record, changes)
        rootfs = await self._snapshots.mount(record)
        wiring = await self._wirer.wire(record)
        mounts = await self._mounts.resolve(record, rootfs)
        if record.log_path:
            await self._host.make_folder(Path(record.log_path).parent)
        identity = await self._runtime.create(
            BundleRequest(
                key=key,
                handler=record.runtime_handler,
                rootfs=rootfs,
                spec=replace(
                    record.spec,
                    env=(*wiring.env, *record.spec.env, *self.private_env.get(record.id, ())),
                ),
                image=record.image_defaults,
                hostname=wiring.hostname,
                cgroup_parent=wiring.cgroup_parent,
                namespace_paths=wiring.namespace_paths,
                host_namespaces=wiring.host_namespaces,
                mounts=(*wiring.mounts, *mounts),
                log_path=record.log_path,
                log_max_bytes=writer_bound(record),
                annotations=record.annotations,
                checkpoint=self._restores.images_folder(record.id)
                if record.spec.restored
                else None,
            )
        )
        await self.bind_waiting(record)
        started_ns = time.time_ns()
        await self._runtime.start(key)
        return Launched(identity, started_ns)

    async def forget_checkpoint(self, record: ContainerRecord) -> None:
        """What it was restored from is not needed again, now that its running row is there."""
        if record.spec.restored:
            await self._restores.forget(record.id)

    async def bind_waiting(self, record: ContainerRecord) -> None:
        """Connect clients that attached before the start."""
        await self._waiting.bind(
            record.id, lambda: self._runtime.attach(self.key(record.id), tty=record.spec.tty)
        )

    async def unplug(self, record: ContainerRecord) -> None:
        """Give back its places on networks, before its end is told. Raises nothing; :meth:`undo` tries it again."""
        try:
            await self._wirer.unplug(record)
        except Exception as error:
            bug = None if isinstance(error, Fault) else error
            log.warning("not unplugged yet", container=record.id, error=str(error), exc_info=bug)

    async def undo(self, record: ContainerRecord) -> None:
        """Remove whatever there is, in reverse order, to the end even when cancelled.

        Raises nothing: a step that fails is logged, so that it neither hides a first error nor stops the rest;
        :meth:`ensure_clean` tries it again.
        """
        await complete(self._undo(record))

    async def _undo(self, record: ContainerRecord) -> None:
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("runtime", lambda: self._runtime.delete(self.key(record.id))),
            ("mounts", lambda: self._mounts.release(record)),
            ("network", lambda: self._wirer.unplug(record)),
            ("namespace", lambda: self._wirer.unpin(record)),
            ("snapshot", lambda: self._snapshots.unmount(record)),
            ("mark", lambda: self._wirer.unmark(record)),
        )
        self._unclean.discard(record.id)
        for step, undo in steps:
            if step == "mark" and record.id in self._unclean:
                return  # recovery shall look here again
            try:
                await undo()
            except Exception as error:
                self._unclean.add(record.id)
                bug = None if isinstance(error, Fault) else error
                log.warning(
                    "undo failed", container=record.id, step=step, error=str(error), exc_info=bug
                )

    async def ensure_clean(self, record: ContainerRecord) -> None:
        """Try again what :meth:`undo` could not do. The container does not run."""
        if record.id in self._unclean:
            await self.undo(record)

    def forget(self, id: ContainerId) -> None:
        """The container is gone; what could not be removed is recovery's."""
        self._unclean.discard(id)
