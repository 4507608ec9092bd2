"""Contexts that the daemon fetches itself: a tar or a Dockerfile at a URL, or a git repository."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import (
    Downloader,
    ExtractRules,
    GitRemote,
    GitRepositories,
    RootArchiver,
    RootView,
    Selection,
)
from sharedrt.model.faults import (
    DeadlineExceeded,
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from sharedrt.services.builds.context import ContextReader
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.git_remotes import GIT_TIMEOUT_S, parse_git
from sharedrt.services.builds.request import BuildRequest
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry
from sharedrt.wire.urls import is_http

MAX_CONTEXT_BYTES: Final = 16 << 30


class RemoteContexts:
    """Fetches contexts into folders of the caller's."""

    def __init__(
        self,
        contexts: ContextReader,
        archiver: RootArchiver,
        downloader: Downloader,
        git: GitRepositories,
    ) -> None:
        self._contexts, self._archiver = contexts, archiver
        self._downloader, self._git = downloader, git

    async def fetch(self, request: BuildRequest, where: Path, scratch: Path) -> str:
        """Fill the folder; the Dockerfile's path in it.

        Raises:
            BuildFailed: it cannot be reached, or is no context.
        """
        remote = request.remote
        try:
            if (git := parse_git(remote)) is not None:
                return await self._from_git(git, request, where)
            return await self._from_url(remote, request, where, scratch)
        except (
            NotFound,
            Unavailable,
            Unauthenticated,
            PermissionDenied,
            DeadlineExceeded,
            InvalidArgument,
        ) as fault:
            raise BuildFailed(
                f"unable to prepare context: cannot fetch {remote}: {_words(fault)}", malformed=True
            ) from fault

    async def _from_git(self, git: GitRemote, request: BuildRequest, where: Path) -> str:
        await self._git.checkout(git, where, timeout_s=GIT_TIMEOUT_S)
        return request.dockerfile

    async def _from_url(
        self, remote: str, request: BuildRequest, where: Path, scratch: Path
    ) -> str:
        if not is_http(remote):
            raise InvalidArgument("remote context", remote, "is neither a URL nor a git repository")
        folder = scratch / "remote"
        found = await self._downloader.fetch(
            remote, folder / "context", limit_bytes=MAX_CONTEXT_BYTES
        )
        view = RootView(folder)
        surveyed = await self._archiver.survey(view, Selection(("context",), probe=True))
        if surveyed.archives:
            async with self._archiver.cat(view, "context") as chunks:
                await self._contexts.unpack(chunks, where)
            return request.dockerfile
        if found.content_type and not found.content_type.startswith(("text/", "application/octet")):
            raise InvalidArgument(
                "remote context", remote, f"unsupported content type {found.content_type}"
            )
        async with self._archiver.cat(view, "context") as chunks:
            await self._put(chunks, found.size_bytes, where)
        return "Dockerfile"

    async def _put(self, chunks: AsyncIterator[bytes], size: int, where: Path) -> None:
        async def archive() -> AsyncIterator[bytes]:
            yield encode_header(TarEntry(b"Dockerfile", Kind.FILE, size=size))
            async for chunk in chunks:
                yield chunk
            yield padding(size) + END_OF_ARCHIVE

        await self._archiver.extract(RootView(where), "/", archive(), ExtractRules())


def _words(fault: Fault) -> str:
    return getattr(fault, "reason", None) or str(fault)
