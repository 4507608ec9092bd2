"""Removing images: Docker's rules for names and ids, and CRI's simple one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sharedrt.model.faults import InUse, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ImageRecord
from sharedrt.services.events import NewEvent
from sharedrt.services.images.gc import Roots
from sharedrt.services.images.image import Image, RemovedImage
from sharedrt.services.images.library import Library
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.told import image_event
from sharedrt.wire.reference import parse_name

Users = Callable[[Digest], tuple[str, ...]]


class Remover:
    """Removes from one namespace."""

    def __init__(self, rows: ImageRows, library: Library) -> None:
        self._rows, self._library = rows, library

    async def remove(
        self, ref: str, *, force: bool, prune: bool, in_use: Users, running: Users
    ) -> list[RemovedImage]:
        """See ``Images.remove``."""
        if damaged := await self._drop_damaged(ref):
            return damaged
        image, reference = self._library.lookup(ref)
        users = in_use(image.id)
        if reference:
            return await self._by_reference(image, reference, force, prune, users)
        if live := running(image.id):
            raise _conflict(ref, image, live, "running")
        if not _single(image.references) and not force:
            raise InUse(
                "image",
                ref,
                image.references,
                f"unable to delete {_short(image.id)} (must be forced) - "
                "image is referenced in multiple repositories",
            )
        if users and not force:
            raise _conflict(ref, image, users, "stopped")
        return await self._all(image, prune, users)

    async def remove_by_id(self, ref: str) -> list[RemovedImage]:
        """See ``Images.remove_by_id``."""
        damaged = await self._drop_damaged(ref)
        try:
            image, _ = self._library.lookup(ref)
        except NotFound:
            return damaged
        return damaged + await self._all(image, True, ())

    async def drop_reference(self, reference: str) -> None:
        """See ``Images.drop_reference``."""
        record = self._library.record(reference)
        if record is None:
            if await self._drop_damaged(reference):
                return
            raise NotFound("image", reference)
        if len(self._library.records_of(record.image_id)) == 1:
            await self._all(self._library.image_of(record), True, ())
        else:
            await self._rows.drop([reference], _untag(self._library.image_of(record), reference))

    async def _drop_damaged(self, ref: str) -> list[RemovedImage]:
        """Remove records that stand for nothing readable any more; what they held goes with the next collection."""
        gone = self._library.damaged_by(ref)
        if gone:
            await self._rows.drop(gone)
        return [RemovedImage(untagged=reference) for reference in gone]

    async def _by_reference(
        self, image: Image, reference: str, force: bool, prune: bool, users: Sequence[str]
    ) -> list[RemovedImage]:
        if users and not force and _single(image.references):
            raise InUse(
                "image",
                reference,
                tuple(users),
                f'unable to remove repository reference "{parse_name(reference).familiar}" '
                f"(must force) - container {users[0][:12]} is using its referenced image "
                f"{_short(image.id)}",
            )
        gone = [reference]
        if "@" not in reference:
            # With a repository's last tag its digests go, too.
            name = parse_name(reference).name
            rest = [r for r in image.references if r != reference and parse_name(r).name == name]
            if all("@" in other for other in rest):
                gone += rest
        if set(gone) >= set(image.references):
            return await self._all(image, prune, users)
        removed = [RemovedImage(untagged=each) for each in gone]
        await self._rows.drop(gone, *(_untag(image, each) for each in gone))
        return removed

    async def _all(self, image: Image, prune: bool, users: Sequence[str]) -> list[RemovedImage]:
        """Remove every name, and with them the image, unless a container still needs it: then it stays,
        named by its id alone, for as long as that container lives."""
        records = self._library.records_of(image.id)
        digests = {image.id}
        for record in records:
            digests |= {record.target.digest, record.manifest}
            digests |= {blob.digest for blob in self._library.facts_of(record).layer_blobs}
        gone = [record.reference for record in records]
        removed = [RemovedImage(untagged=name) for name in image.references]
        events = [_untag(image, name) for name in image.references]
        if users:
            await self._rows.drop(
                [name for name in gone if name != image.id],
                *events,
                unnamed=_unnamed(records[0], image),
            )
            return removed
        await self._rows.drop(gone, *events, image_event("delete", image.id, image.id))
        removed.append(RemovedImage(deleted=image.id))
        if prune:
            swept = await self._rows.sweep(Roots(digests, set(image.layers)))
            removed += [
                RemovedImage(deleted=name.replace("-", ":", 1)) for name in swept.directories
            ]
        return removed


def _unnamed(record: ImageRecord, image: Image) -> ImageRecord:
    return replace(record, reference=str(image.id))


def _single(references: Sequence[str]) -> bool:
    """Docker's 'single reference': at most one tag, all names of one repository."""
    tags = [name for name in references if "@" not in name]
    return len(tags) <= 1 and len({parse_name(name).name for name in references}) <= 1


def _conflict(ref: str, image: Image, users: tuple[str, ...], state: str) -> InUse:
    how = "cannot be forced" if state == "running" else "must be forced"
    return InUse(
        "image",
        ref,
        users,
        f"unable to delete {_short(image.id)} ({how}) - "
        f"image is being used by {state} container {users[0][:12]}",
    )


def _short(id: Digest) -> str:
    return id.partition(":")[2][:12]


def _untag(image: Image, reference: str) -> NewEvent:
    return image_event("untag", image.id, image.id, labels=image.config.labels, reference=reference)
