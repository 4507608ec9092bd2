"""``RUN --mount``: what a RUN's container sees beside its root file system, prepared and taken away again."""

import hashlib
import posixpath
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import complete
from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.drivers import (
    ExtractRules,
    HostFiles,
    Placement,
    RootArchiver,
    RootView,
    Selection,
    VolumeFolders,
)
from sharedrt.model.faults import NotFound
from sharedrt.model.spec import Mount, MountKind
from sharedrt.services.builds.cache import CacheUse
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.request import BuildRequest
from sharedrt.services.layout import Layout
from sharedrt.wire.dockerfile.mounts import MountType, RunMount, Sharing
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry

FindRoot = Callable[[str, bool], AbstractAsyncContextManager[Path]]
"""A stage's or an image's root file system by name (empty: the context's), writable if asked."""

_COMPLETE: Final = "complete"
"""A file beside a cache's data: its first content, owner and mode are there."""
_SECRETS: Final = "/run/secrets/"
_PIPES: Final = "/dev/pipes/"
_AGENT: Final = "/run/buildkit/ssh_agent."


class CacheFolders:
    """Cache mounts in use by all builds of a namespace: whose turn it is, and which copies are taken."""

    def __init__(self) -> None:
        self.locks = KeyedLocks()
        self.private: set[str] = set()


@dataclass(slots=True)
class Prepared:
    """``env``: variables that mounts bring along; ``secrets``: those of them that nobody may keep."""

    mounts: list[Mount] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


class RunMounts:
    """Of one build."""

    def __init__(
        self,
        layout: Layout,
        run_folder: Path,
        host: HostFiles,
        folders: VolumeFolders,
        archiver: RootArchiver,
        caches: CacheFolders,
        use: CacheUse,
        request: BuildRequest,
    ) -> None:
        self._layout, self._run_folder, self._host = layout, run_folder, host
        self._folders, self._archiver, self._caches = folders, archiver, caches
        self._use, self._request = use, request

    @asynccontextmanager
    async def prepared(
        self, mounts: Sequence[RunMount], working_dir: str, find: FindRoot
    ) -> AsyncIterator[Prepared]:
        """All mounts, as long as the block lasts.

        Raises:
            BuildFailed: a source, or a secret that is required, is not there.
        """
        ready = Prepared()
        async with AsyncExitStack() as stack:
            await self._lock(stack, mounts, working_dir)
            for number, mount in enumerate(mounts):
                target = _target(mount, working_dir)
                made: Mount | None
                match mount.type:
                    case MountType.BIND:
                        made = await self._bind(stack, mount, target, find)
                    case MountType.CACHE:
                        made = await self._cache(stack, mount, target, find)
                    case MountType.TMPFS:
                        size = (f"size={mount.size_bytes}",) if mount.size_bytes else ()
                        made = Mount(MountKind.TMPFS, "", target, options=size)
                    case MountType.SECRET:
                        secret = await self._secret(stack, mount, target)
                        if mount.env and secret is not None:
                            ready.secrets[mount.env] = secret.decode(errors="surrogateescape")
                        made = await self._secret_file(stack, mount, target, secret)
                    case MountType.SSH:
                        made = await self._agent(mount, target, number, ready)
                if made is not None:
                    ready.mounts.append(made)
            yield ready

    def _point(self) -> Path:
        return self._run_folder / secrets.token_hex(8)

    # ------------------------------------------------------------ bind

    async def _bind(
        self, stack: AsyncExitStack, mount: RunMount, target: str, find: FindRoot
    ) -> Mount:
        root = await stack.enter_async_context(find(mount.from_, not mount.readonly))
        point = self._point() / "mount"
        stack.push_async_callback(self._take_away, point)
        try:
            await self._host.bind_in_root(root, mount.source or "/", point)
        except NotFound as fault:
            raise BuildFailed(
                f"failed to mount {mount.source!r}: no such file or directory"
            ) from fault
        return Mount(MountKind.BIND, str(point), target, readonly=mount.readonly)

    async def _take_away(self, point: Path) -> None:
        await complete(self._remove(point))

    async def _remove(self, point: Path) -> None:
        await self._host.unmount(point)
        await self._host.remove_tree(point.parent)

    # ------------------------------------------------------------ cache

    async def _cache(
        self, stack: AsyncExitStack, mount: RunMount, target: str, find: FindRoot
    ) -> Mount:
        name = mount.id or target
        id = await stack.enter_async_context(self._slot(name, mount.sharing))
        await self._use.mount(id, name)
        folder = self._layout.build_cache(id)
        data = self._folders.data(folder)
        async with self._caches.locks.hold(("make", id)):
            if not await self._host.exists(folder / _COMPLETE):
                await self._folders.remove(folder)  # a daemon was killed while it was filled
                await self._folders.make(folder)
                await self._fill(mount, data, find)
                await self._host.write(folder, {_COMPLETE: b""})
        return Mount(MountKind.BIND, str(data), target, readonly=mount.readonly)

    async def _lock(
        self, stack: AsyncExitStack, mounts: Sequence[RunMount], working_dir: str
    ) -> None:
        """Wait for caches that are used by one at a time: in one order for all, so that no two wait for each other."""
        names = (
            mount.id or _target(mount, working_dir)
            for mount in mounts
            if mount.type is MountType.CACHE and mount.sharing is Sharing.LOCKED
        )
        for id in sorted({_cache_id(name, 0) for name in names}):
            await stack.enter_async_context(self._caches.locks.hold(id))

    @asynccontextmanager
    async def _slot(self, name: str, sharing: Sharing) -> AsyncIterator[str]:
        """Which folder: the cache's own; with ``private`` the first of its copies that nobody uses."""
        match sharing:
            case Sharing.SHARED | Sharing.LOCKED:
                yield _cache_id(name, 0)
            case Sharing.PRIVATE:
                number = 0
                while (id := _cache_id(name, number)) in self._caches.private:
                    number += 1
                self._caches.private.add(id)
                try:
                    yield id
                finally:
                    self._caches.private.discard(id)

    async def _fill(self, mount: RunMount, data: Path, find: FindRoot) -> None:
        """A new cache's first content, owner and mode."""
        view = RootView(data)
        if mount.from_:
            async with find(mount.from_, False) as root:
                selection = Selection((mount.source or "/",), keep_owner=True)
                placement = Placement("/", into=True)
                async with self._archiver.gather(RootView(root), selection, placement) as chunks:
                    await self._archiver.extract(view, "/", chunks, ExtractRules())
        top = TarEntry(
            b"./",
            Kind.FOLDER,
            0o755 if mount.mode is None else mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
        )
        chunks = _chunks(encode_header(top) + END_OF_ARCHIVE)
        await self._archiver.extract(view, "/", chunks, ExtractRules(root_entry=True))

    # ------------------------------------------------------------ scripts

    @asynccontextmanager
    async def script(self, name: str, content: bytes) -> AsyncIterator[Mount]:
        """A here-document as a program."""
        async with AsyncExitStack() as stack:
            source = await self._file(stack, content, 0o755, 0, 0)
            yield Mount(MountKind.BIND, str(source), f"{_PIPES}{name}", readonly=True)

    async def _file(
        self, stack: AsyncExitStack, content: bytes, mode: int, uid: int, gid: int
    ) -> Path:
        """In memory, until the stack is left."""
        folder = self._point()
        stack.push_async_callback(self._forget, folder)
        await self._host.make_folder(folder, mode=0o700)
        entry = TarEntry(b"file", Kind.FILE, mode, uid=uid, gid=gid, size=len(content))
        parts = (encode_header(entry), content, padding(len(content)), END_OF_ARCHIVE)
        chunks = _chunks(b"".join(parts))
        await self._archiver.extract(RootView(folder), "/", chunks, ExtractRules())
        return folder / "file"

    # ------------------------------------------------------------ secrets

    async def _secret(self, stack: AsyncExitStack, mount: RunMount, target: str) -> bytes | None:
        secret = self._request.secrets.get(mount.id)
        if secret is None and mount.required:
            raise BuildFailed(f"secret {mount.id}: not found")
        return secret

    async def _secret_file(
        self, stack: AsyncExitStack, mount: RunMount, target: str, secret: bytes | None
    ) -> Mount | None:
        if secret is None or (mount.env and not mount.target):
            return None
        if not mount.target:
            target = _SECRETS + mount.id
        mode = 0o400 if mount.mode is None else mount.mode
        source = await self._file(stack, secret, mode, mount.uid or 0, mount.gid or 0)
        return Mount(MountKind.BIND, str(source), target, readonly=True)

    async def _forget(self, folder: Path) -> None:
        await complete(self._host.remove_tree(folder))

    async def _agent(
        self, mount: RunMount, target: str, number: int, ready: Prepared
    ) -> Mount | None:
        socket = self._request.ssh_sockets.get(mount.id or "default")
        if socket is None:
            if mount.required:
                raise BuildFailed(f"no SSH key {mount.id or 'default'!r} forwarded from the client")
            return None
        if not await self._host.is_socket(Path(socket)):
            raise BuildFailed(f"{socket} is no socket of an SSH agent")
        if not mount.target:
            target = f"{_AGENT}{number}"
        ready.env.setdefault("SSH_AUTH_SOCK", target)
        return Mount(MountKind.BIND, socket, target)


def _target(mount: RunMount, working_dir: str) -> str:
    return posixpath.normpath(posixpath.join("/", working_dir, mount.target))


def _cache_id(name: str, number: int) -> str:
    return hashlib.sha256(f"{number} {name}".encode()).hexdigest()


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data
