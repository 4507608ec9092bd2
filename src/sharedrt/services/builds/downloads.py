"""What ADD fetches over the network."""

import secrets
from pathlib import Path
from typing import Final

from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.drivers import Downloader, GitRemote, GitRepositories, HostFiles, RootView
from sharedrt.model.faults import NotFound, Unavailable
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.git_remotes import GIT_TIMEOUT_S
from sharedrt.wire.urls import file_name

MAX_DOWNLOAD_BYTES: Final = 16 << 30


class Downloads:
    """Of one build: each URL and each repository is fetched once."""

    def __init__(
        self, downloader: Downloader, git: GitRepositories, host: HostFiles, folder: Path
    ) -> None:
        self._downloader, self._git, self._host, self._folder = downloader, git, host, folder
        self._locks = KeyedLocks()
        self._checked_out: dict[GitRemote, RootView] = {}
        self._done: dict[str, tuple[RootView, str]] = {}

    async def get(self, url: str, checksum: str) -> tuple[RootView, str]:
        """A folder with the file in it, and the file's digest. Raises BuildFailed when that is another one."""
        async with self._locks.hold(url):
            if url not in self._done:
                name = _file_name(url)
                folder = self._folder / f"download-{secrets.token_hex(8)}"
                await self._host.make_folder(folder)
                try:
                    found = await self._downloader.fetch(
                        url, folder / name, limit_bytes=MAX_DOWNLOAD_BYTES
                    )
                except (NotFound, Unavailable) as fault:
                    raise BuildFailed(f"ADD failed: {fault}") from fault
                self._done[url] = (RootView(folder), f"sha256:{found.sha256}")
        view, digest = self._done[url]
        if checksum and checksum != digest:
            raise BuildFailed(f"digest mismatch for {url}: expected {checksum}, got {digest}")
        return view, digest

    async def checkout(self, remote: GitRemote) -> RootView:
        """A folder with a repository's files."""
        async with self._locks.hold(remote):
            if remote not in self._checked_out:
                top = self._folder / f"git-{secrets.token_hex(8)}"
                await self._host.make_folder(top / "files")
                await self._git.checkout(remote, top / "files", timeout_s=GIT_TIMEOUT_S)
                self._checked_out[remote] = RootView(top / "files")
            return self._checked_out[remote]


def _file_name(url: str) -> str:
    """What the file is called. Raises BuildFailed: no file can be called so."""
    if name := file_name(url):
        return name
    path = url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    if path and not path.endswith("/"):
        raise BuildFailed(f"ADD failed: cannot determine filename from url: {url}")
    return "download"
