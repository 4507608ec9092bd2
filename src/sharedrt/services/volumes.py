"""One namespace's volumes of the local driver: named, used by containers, removed when nobody does.

The row comes first and goes first. A folder without a row is removed at start-up, a row's folder is made
whenever it is missing. What a volume's options name is mounted while a container runs that uses it.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import Usage, VolumeFolders
from sharedrt.model.faults import Fault, InUse, InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId, new_id
from sharedrt.model.records import ContainerRecord, VolumeRecord
from sharedrt.model.spec import Mount, MountKind
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.layout import Layout
from sharedrt.services.logged import logged
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

DRIVER: Final = "local"
OPTIONS: Final = ("type", "device", "o")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "device": ("type",),
    "type": ("device",),
    "o": ("device", "type"),
}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class NewVolume:
    """A volume to be made. An empty name: an anonymous one, named by 64 random hex digits."""

    name: str = ""
    driver: str = DRIVER
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def check_volume(volume: NewVolume) -> None:
    """Raises InvalidArgument for a name or an option, NotFound for a driver."""
    if volume.driver not in ("", DRIVER):
        raise NotFound("volume driver", volume.driver)
    if volume.name:
        _check_name(volume.name)
    for option in volume.options:
        if option == "size":
            if volume.options[option] in ("", "0"):
                continue
            # dockerd sets a project quota, on an XFS that it finds mounted with pquota.
            reason = "quota size requested but no quota support"
            raise InvalidArgument("volume option", option, reason)
        if option not in OPTIONS:
            raise InvalidArgument("volume option", option, f'invalid option: "{option}"')
        if "\0" in volume.options[option]:
            raise InvalidArgument("volume option", option, "has a zero byte")
    for option, needed in _NEEDED.items():
        if volume.options.get(option):
            for other in needed:
                if not volume.options.get(other):
                    raise InvalidArgument(
                        "volume option", other, f'missing required option: "{other}"'
                    )
    for word in volume.options.get("o", "").split(","):
        if word.lower().startswith("x-"):
            raise InvalidArgument("volume option o", word, "is mount(8)'s own and not supported")


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidArgument(
            "volume name",
            name,
            "volume name is too short, names should be at least two alphanumeric characters",
        )
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidArgument(
            "volume name",
            name,
            f'"{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path",
        )


class Volumes:
    """The volumes of the namespace that ``store`` is bound to. Lists and look-ups never wait.

    Args:
        containers: this namespace's containers, whose specs say who uses what.
    """

    def __init__(
        self,
        layout: Layout,
        store: NamespacedStore,
        events: NamespacedEvents,
        folders: VolumeFolders,
        containers: Callable[[], Iterable[ContainerRecord]],
        owner: TaskOwner,
    ) -> None:
        self._layout, self._store, self._events, self._folders = layout, store, events, folders
        self._containers = containers
        self._owner = owner
        self._records = WorkingSet[VolumeRecord]("volume", lambda r: r.name, lambda r: "")
        self._locks = KeyedLocks()
        self._mounted: dict[str, set[ContainerId]] = {}
        """Running containers, by the volume that they use."""

    # ------------------------------------------------------------ looking

    def get(self, name: str) -> VolumeRecord:
        """By its whole name. Raises NotFound (kind ``volume``)."""
        return self._records.by_id(name)

    def list(self) -> Sequence[VolumeRecord]:
        """All, oldest first."""
        return self._records.list()

    def users(self, name: str) -> Sequence[ContainerId]:
        """Containers, running or not, that mount it."""
        return [c.id for c in self._containers() if name in volumes_of(c.spec.mounts)]

    def mountpoint(self, name: str) -> Path:
        """The host folder with its data."""
        return self._folders.data(self._layout.volume(name))

    async def usage(self, name: str) -> Usage:
        """What its data takes; nothing while its options are not mounted. Raises NotFound."""
        self.get(name)
        return await self._folders.usage(self._layout.volume(name))

    # ------------------------------------------------------------ create and remove

    async def create(self, volume: NewVolume) -> VolumeRecord:
        """Make a volume, or find the one that has this name.

        Raises:
            InvalidArgument, NotFound (kind ``volume driver``): see :func:`check_volume`.
        """
        check_volume(volume)
        return await self._owner.finish(self._create(volume), "create volume")

    async def _create(self, volume: NewVolume) -> VolumeRecord:
        name = volume.name or new_id()
        async with self._locks.hold(name):
            if (found := self._records.find(name)) is not None:
                return found
            record = _record(name, volume)
            event = NewEvent("volume", "create", name, {"driver": DRIVER})
            await self._events.commit(
                lambda tx: tx.volumes.add(record), event, then=lambda: self._records.put(record)
            )
            await self._folders.make(self._layout.volume(name))
            return record

    @asynccontextmanager
    async def claimed(self, volumes: Sequence[NewVolume]) -> AsyncIterator[Sequence[VolumeRecord]]:
        """Hold volumes while a container's rows are written that refer to them: they can neither go nor be made by
        somebody else. Gives the rows that are missing and must be added in that transaction; after the block, unless
        it failed, these are volumes.

        Raises:
            InvalidArgument, NotFound: as :meth:`create`.
        """
        for volume in volumes:
            check_volume(volume)
        async with AsyncExitStack() as locks:
            for name in sorted({volume.name for volume in volumes}):
                await locks.enter_async_context(self._locks.hold(name))
            by_name = {volume.name: volume for volume in volumes}
            missing = [v for name, v in by_name.items() if self._records.find(name) is None]
            records = [_record(volume.name, volume) for volume in missing]
            yield records
            for record in records:
                self._records.put(record)
                await self._folders.make(self._layout.volume(record.name))

    async def remove(self, name: str) -> None:
        """Remove a volume with its data.

        Raises:
            NotFound. InUse: with the ids of the containers that mount it.
        """
        await self._owner.finish(self._remove(name), "remove volume")

    async def _remove(self, name: str) -> None:
        async with self._locks.hold(name):
            self.get(name)
            if users := self.users(name):
                raise InUse("volume", name, tuple(users))
            # The database refuses it too, if a container's rows are just being written.
            event = NewEvent("volume", "destroy", name, {"driver": DRIVER})
            await self._events.commit(
                lambda tx: tx.volumes.delete(name), event, then=lambda: self._records.drop(name)
            )
            await self._folders.remove(self._layout.volume(name))

    async def prune(self, wanted: Callable[[VolumeRecord], bool]) -> tuple[Sequence[str], int]:
        """Remove those that no container mounts and that are ``wanted``: their names, and the bytes got back."""
        removed: list[str] = []
        size = 0
        for record in self.list():
            if not wanted(record) or self.users(record.name):
                continue
            try:
                usage = await self.usage(record.name)
                await self.remove(record.name)
            except (InUse, NotFound):
                continue  # somebody came, or removed it, meanwhile
            removed.append(record.name)
            size += usage.content_bytes
        details = {"reclaimed": str(size)}
        await self._events.publish("volume", "prune", "", details)
        return removed, size

    async def remove_unused_anonymous(self, names: Iterable[str]) -> None:
        """Remove those of a removed container's volumes that were anonymous and that nobody else mounts."""
        for name in names:
            record = self._records.find(name)
            if record is None or not record.anonymous:
                continue
            try:
                await self._remove(name)
            except (InUse, NotFound):
                log.debug("an anonymous volume stays: it has another user", volume=name)

    # ------------------------------------------------------------ use

    async def mount(self, name: str, user: ContainerId) -> Path:
        """Have it ready for a container that starts; its data folder. Idempotent.

        Raises:
            NotFound. FailedPrecondition: its options cannot be mounted.
        """
        async with self._locks.hold(name):
            record = self.get(name)
            await self._folders.mount(self._layout.volume(name), record.options)
            self._mounted.setdefault(name, set()).add(user)
            return self.mountpoint(name)

    def note_mounted(self, names: Iterable[str], user: ContainerId) -> None:
        """A container that an earlier daemon started uses them."""
        for name in names:
            self._mounted.setdefault(name, set()).add(user)

    async def release(self, name: str, user: ContainerId) -> bool:
        """A container ends: with the last one, options are unmounted. Whether it had been mounted for it."""
        async with self._locks.hold(name):
            users = self._mounted.get(name, set())
            held = user in users
            users.discard(user)
            if not users:
                self._mounted.pop(name, None)
                record = self._records.find(name)
                if record is not None and record.options:
                    await self._folders.unmount(self._layout.volume(name))
            return held

    @asynccontextmanager
    async def copying(self, name: str) -> AsyncIterator[None]:
        """Its content is looked at and filled by one at a time."""
        async with self._locks.hold(("copy", name)):
            yield

    # ------------------------------------------------------------ recovery

    def load(self, records: Sequence[VolumeRecord]) -> None:
        """Fill the working set. Before anything else."""
        for record in records:
            self._records.put(record)

    async def recover(self) -> None:
        """Once running containers are known: make what is missing, unmount what nobody uses, remove what no row
        names."""
        for name in await self._folders.names(self._layout.volumes_root):
            if self._records.find(name) is None:
                log.info("removing a volume's folder that no row owns", volume=name)
                with logged("cannot remove a volume's folder", volume=name):
                    await self._folders.remove(self._layout.volume(name))
        for record in self.list():
            try:
                async with self._locks.hold(record.name):
                    await self._folders.make(self._layout.volume(record.name))
                    if record.options and not self._mounted.get(record.name):
                        await self._folders.unmount(self._layout.volume(record.name))
            except Fault as fault:
                log.warning("volume is not in order", volume=record.name, error=str(fault))


def volumes_of(mounts: Iterable[Mount]) -> set[str]:
    """Names of the volumes that are mounted."""
    return {mount.source for mount in mounts if mount.kind is MountKind.VOLUME}


def _record(name: str, volume: NewVolume) -> VolumeRecord:
    return VolumeRecord(
        name=name,
        driver=DRIVER,
        options={key: value for key, value in volume.options.items() if value},
        labels=dict(volume.labels),
        anonymous=ANONYMOUS_LABEL in volume.labels or not volume.name,
        created_ns=time.time_ns(),
    )


ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"
"""dockerd's mark, which clients show; a client that sets it gets an anonymous volume under its own name."""
