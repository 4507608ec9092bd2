"""One namespace's images."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import Credentials, FoundRepository, Usage
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import Descriptor, ImageRecord
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.events import NamespacedEvents
from sharedrt.services.images.archives import ArchiveLoader, LoadedImage, LoadListener
from sharedrt.services.images.compose import Composer
from sharedrt.services.images.export import export
from sharedrt.services.images.fetch import Fetcher
from sharedrt.services.images.gc import Removed, Roots
from sharedrt.services.images.host import ImageHost, layer_directory
from sharedrt.services.images.image import (
    Image,
    PullListener,
    PullProgress,
    PushListener,
    PushProgress,
    RemovedImage,
)
from sharedrt.services.images.joined import Joined
from sharedrt.services.images.library import Library
from sharedrt.services.images.pull import Puller, PullRequest
from sharedrt.services.images.push import Pusher
from sharedrt.services.images.register import Registrar
from sharedrt.services.images.removal import Remover, Users
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.tasks import all_of
from sharedrt.services.images.told import image_event
from sharedrt.services.images.unpack import unpack_layer
from sharedrt.wire.oci_image import Index, parse_target
from sharedrt.wire.platforms import parse_platform
from sharedrt.wire.reference import parse_name, parse_reference

GC_GRACE_S = 3600.0


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of ``docker history``, the newest first. ``id`` is the image's for its top line only."""

    id: Digest | None
    created: str
    """RFC 3339 text."""
    created_by: str
    comment: str
    size_bytes: int
    tags: tuple[str, ...] = ()


def _nobody(_: Digest) -> tuple[str, ...]:
    return ()


class Images:
    """The images of the namespace that ``store`` is bound to. Lists and look-ups never wait.

    Args:
        platform: what images are chosen for, ``linux/amd64`` or with a variant.
    """

    def __init__(
        self, host: ImageHost, store: NamespacedStore, events: NamespacedEvents, platform: str
    ) -> None:
        self._host, self._store = host, store
        self._platform = parse_platform(platform)
        self._library = Library()
        self._rows = ImageRows(host, store, events, self._library)
        self._remover = Remover(self._rows, self._library)
        self._pusher = Pusher(host, store, self._rows, self._library)
        self._owner = TaskOwner(f"images of {store.namespace}")
        puller = Puller(host, store, self._rows, self._library)
        self._pulls: Joined[PullRequest, Image, PullProgress] = Joined(
            self._owner, puller.pull, lambda progress: progress.id
        )

    async def start(self) -> None:
        """Load the working set. Before anything else."""
        await self._rows.start()

    async def aclose(self) -> None:
        """End what is under way."""
        await self._owner.aclose()

    # ------------------------------------------------------------ looking

    def get(self, ref: str) -> Image:
        """By reference (full or short), ``name@digest``, id with or without ``sha256:``, unique id prefix.

        Raises:
            NotFound, Ambiguous: kind ``image``.
        """
        return self._library.get(ref)

    def select(self, ref: str) -> Sequence[Image]:
        """As :meth:`get`, but a name without a tag stands for all tags of its repository. Raises as that does."""
        return [image for image, _ in self._library.select(ref)]

    def list(self) -> Sequence[Image]:
        """All, each once however many references name it."""
        return self._library.images()

    def layer_sizes(self, image: Image) -> Sequence[tuple[SnapshotKey, int]]:
        """Each layer's chain id with the bytes that its folder takes, base layer first."""
        usages = ((key, self._host.usage_of(layer_directory(key))) for key in image.layers[::-1])
        return [(key, usage.size_bytes if usage else 0) for key, usage in usages]

    async def disk_usage(self) -> Usage:
        """What this namespace's images take, unpacked and as blobs, each file counted once."""
        keys = {key for image in self.list() for key in image.layers}
        usages = [usage for key in keys if (usage := self._host.usage_of(layer_directory(key)))]
        blobs = await self._store.read(lambda tx: tx.blobs.list())
        return Usage(
            size_bytes=sum(u.size_bytes for u in usages) + sum(blob.size for blob in blobs),
            inodes=sum(usage.inodes for usage in usages) + len(blobs),
        )

    def records(self) -> Sequence[ImageRecord]:
        """Every reference by itself, with its own target and labels: containerd's idea of an image."""
        return self._library.records()

    def record(self, reference: str) -> ImageRecord:
        """Exactly this full reference. Raises NotFound."""
        if (record := self._library.record(reference)) is None:
            raise NotFound("image", reference)
        return record

    def layer_usage(self, key: SnapshotKey) -> Usage:
        """What an image's layer takes on disk by itself; zeros when it was not measured yet."""
        found = self._host.usage_of(layer_directory(key))
        return Usage(found.size_bytes, found.inodes) if found is not None else Usage(0, 0)

    async def set_labels(self, reference: str, labels: Mapping[str, str]) -> ImageRecord:
        """Replace the labels of one reference. Raises NotFound."""
        return await self._rows.set_labels(reference, labels)

    def history(self, ref: str) -> Sequence[HistoryRow]:
        """How the image was made, the newest step first. Raises NotFound."""
        image = self.get(ref)
        config = image.config
        sizes = [
            usage.size_bytes if (usage := self._host.usage_of(layer_directory(key))) else 0
            for key in config.chain_ids()
        ]
        rows = []
        layer = 0
        for entry in config.history:
            size = 0
            if not entry.empty_layer and layer < len(sizes):
                size = sizes[layer]
                layer += 1
            rows.append(HistoryRow(None, entry.created, entry.created_by, entry.comment, size))
        rows += [HistoryRow(None, config.created, "", "", size) for size in sizes[layer:]]
        rows.reverse()
        if rows:
            rows[0] = replace(rows[0], id=image.id, tags=image.repo_tags)
        return rows

    # ------------------------------------------------------------ to and from registries

    async def pull(
        self,
        reference: str,
        *,
        credentials: Credentials | None = None,
        platform: str | None = None,
        progress: PullListener | None = None,
    ) -> Image:
        """Fetch and unpack an image, and name it. Of a tag with a digest the tag is dropped, as CRI and Docker do.

        Equal calls at the same time are one pull, which is cancelled when the last caller is. A failed pull
        leaves no row and no file but what a later one resumes from.

        Raises:
            InvalidArgument: the reference. NotFound: kind ``image``, or ``platform`` when it is for others only.
            DataLoss: bytes are not what their digest says. Unimplemented: schema 1, or no image at all.
            Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: naming the registry's host.
            ResourceExhausted: the disk, or a bound.
        """
        request = PullRequest(
            reference=parse_reference(reference).pinned(),
            platform=self._platform if platform is None else parse_platform(platform),
            credentials=credentials,
        )
        return await self._pulls.run(request, progress)

    async def push(
        self,
        reference: str,
        *,
        credentials: Credentials | None = None,
        progress: PushListener | None = None,
    ) -> Digest:
        """Push this platform's manifest with its blobs; the manifest's digest, under which it then has a reference.

        Raises:
            NotFound: no such reference. Others as :meth:`pull`.
        """
        return await self._pusher.push(reference, credentials, progress or _ignore)

    async def inspect_remote(
        self, reference: str, *, credentials: Credentials | None = None
    ) -> tuple[Descriptor, Sequence[str]]:
        """What a registry has under a name, without pulling it: its target, and the platforms
        (``os/architecture[/variant]``) that it is for. Raises as :meth:`pull`."""
        ref = parse_reference(reference).pinned()
        repository = self._host.registry.repository(ref.domain, ref.path, credentials)
        try:
            target = await repository.resolve(ref.selector)
            document = parse_target(await repository.manifest(target), target.media_type)
        except NotFound as fault:
            raise NotFound("image", str(ref)) from fault
        target = replace(target, media_type=document.media_type)
        if isinstance(document, Index):
            return target, [entry.platform for entry in document.manifests if entry.platform]
        # The configuration is no row's yet, so the hold's end would leave its blob: collect it by hand.
        async with self._host.hold() as hold:
            fetcher = Fetcher(self._host, self._store, repository, hold, ref.domain)
            documents = await fetcher.documents(target, None, str(ref))
        await self._host.collect(hold.digests)
        return target, [documents.config.platform]

    async def remote_tags(
        self, name: str, *, credentials: Credentials | None = None
    ) -> Sequence[str]:
        """The tags that a repository has at its registry. Raises as :meth:`pull`."""
        ref = parse_name(name)
        repository = self._host.registry.repository(ref.domain, ref.path, credentials)
        try:
            return await repository.tags()
        except NotFound as fault:
            raise NotFound("image", ref.name) from fault

    async def search(
        self, host: str, term: str, limit: int, *, credentials: Credentials | None = None
    ) -> Sequence[FoundRepository]:
        """Repositories of a registry. Raises as :meth:`pull`."""
        return await self._host.registry.search(host, term, limit, credentials)

    async def login(self, credentials: Credentials) -> str:
        """Check credentials; an identity token where the registry gives one. Raises Unauthenticated, Unavailable."""
        return await self._host.registry.login(credentials)

    # ------------------------------------------------------------ names

    async def tag(self, source: str, target: str) -> Image:
        """Give an image another name; an image that had that keeps its id for one.

        Raises:
            NotFound: ``source``. InvalidArgument: ``target`` is no name, or has a digest.
        """
        ref = parse_reference(target)
        # Checks that there is a tag and no digest, in one place.
        name = str(ref.with_tag(ref.tag))
        async with self._host.hold() as hold:
            await hold.image(self._library.get(source))
            record = self._library.record_of(source)
            id = record.image_id
            return await self._rows.put(
                await self._rows.documents_of(record),
                [name],
                image_event(
                    "tag",
                    id,
                    ref.familiar,
                    labels=self._library.get(source).config.labels,
                    reference=name,
                ),
                labels=record.labels,
            )

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune: bool = True,
        in_use: Users = _nobody,
        running: Users | None = None,
    ) -> Sequence[RemovedImage]:
        """Remove a name, or an image by id, by Docker's rules.

        A name: only that (with a repository's last tag its digests), and the image with its last name. An id: all
        names when they are of one repository, or with ``force``. An image whose container still exists loses its
        names only.

        Args:
            prune: remove layers and blobs that nothing else needs, too.
            in_use: ids of containers made from an image.
            running: of those, the ones that run; ``None``: take all of them for running.

        Raises:
            NotFound, Ambiguous. InUse: with Docker's words as reason, after its ``conflict: ``.
        """
        return await self._remover.remove(
            ref, force=force, prune=prune, in_use=in_use, running=running or in_use
        )

    async def remove_by_id(self, ref: str) -> Sequence[RemovedImage]:
        """CRI's RemoveImage: all names of the image that ``ref`` finds; one that is not there is success."""
        return await self._remover.remove_by_id(ref)

    async def drop_reference(self, reference: str) -> None:
        """containerd's image deletion: exactly this reference, content to be collected.

        Raises:
            NotFound.
        """
        await self._remover.drop_reference(reference)

    # ------------------------------------------------------------ content that is here

    async def register(self, name: str | None, target: Descriptor) -> Image:
        """Make an image of content that this namespace has put into the content store: choose the platform's manifest,
        unpack, write rows. Without a name it has its id for one.

        Raises:
            NotFound: kind ``content`` (a blob is missing, or is not this namespace's), ``platform``.
            DataLoss, InvalidArgument, Unimplemented.
        """
        names = [str(parse_reference(name))] if name else []
        async with self._host.hold() as hold:
            registrar = Registrar(self._host, self._store, self._rows, hold)
            what = names[0] if names else target.digest
            documents = await registrar.documents(target, self._platform, what)
            id = documents.config_blob.digest
            reference = names[0] if names else id
            event = image_event("load", id, id, labels=documents.config.labels, reference=reference)
            return await registrar.register(documents, names, event)

    @asynccontextmanager
    async def composing(self) -> AsyncIterator[Composer]:
        """Make an image of layers that are written here."""
        async with self._host.hold() as hold:
            yield Composer(self._host, self._store, self._rows, hold)

    async def ensure_unpacked(self, image: Image) -> None:
        """Have all its layers' folders, again if need be."""
        async with self._host.hold() as hold:
            await all_of(
                unpack_layer(self._host, hold, blob, diff_id, key)
                for blob, diff_id, key in zip(
                    image.layer_blobs,
                    image.config.diff_ids,
                    image.config.chain_ids(),
                    strict=True,
                )
            )

    async def load(
        self,
        chunks: AsyncIterator[bytes],
        *,
        platform: str | None = None,
        progress: LoadListener | None = None,
    ) -> Sequence[LoadedImage]:
        """Import an archive: of ``docker save``, old or new, or an OCI layout; plain, gzip or zstd.

        Args:
            platform: what is chosen of an index, and what everything else has to be for; ``None``: the host's of
                an index, anything else as it is.

        Raises:
            InvalidArgument: no such archive, or a hostile one. NotFound: kind ``platform``. Others as
            :meth:`register`. Images of the archive that came before the fault stay.
        """
        loader = ArchiveLoader(
            self._host,
            self._store,
            self._rows,
            self._platform if platform is None else parse_platform(platform),
            strict=platform is not None,
        )
        return await loader.load(chunks, progress)

    def save(
        self, references: Sequence[str], *, platform: str | None = None
    ) -> AsyncIterator[bytes]:
        """An archive of images that is both an OCI layout and one of ``docker load``.

        Raises:
            NotFound, Ambiguous: at once, before the first byte.
        """
        if platform is not None:
            wanted = parse_platform(platform)
            for ref in references:
                if parse_platform(self.get(ref).config.platform) != wanted:
                    raise NotFound("platform", f"{ref} is not here for {wanted}")
        found = [pair for ref in references for pair in self._library.select(ref)]
        return export(self._host, found)

    # ------------------------------------------------------------ upkeep

    async def release(
        self, digests: Collection[Digest], snapshots: Collection[SnapshotKey] = ()
    ) -> Removed:
        """Remove those blobs and snapshots, which a lease or the build cache has held until now, that nothing else
        needs."""
        return await self._rows.sweep(Roots(set(digests), set(snapshots)))

    async def gc(self, *, grace_s: float = GC_GRACE_S) -> Removed:
        """Remove rows and files that no image, container or lease of this namespace needs."""
        return await self._rows.sweep(grace_s=grace_s)


def _ignore(_: PushProgress) -> None:
    return None
