"""Where builds and imports get files from."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that came over the network."""

    sha256: str
    """64 hex digits."""
    size_bytes: int
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """A file on its way."""

    chunks: AsyncIterator[bytes]
    size_bytes: int
    """0: the server does not say."""
    content_type: str = ""
    changed: str = ""
    """When it last was, as the server says it."""


class Downloader(Protocol):
    """Files from HTTP servers."""

    def open(self, url: str) -> AbstractAsyncContextManager[Download]:
        """What a URL leads to (redirects followed), while the block lasts.

        Raises:
            NotFound: kind ``url``. Unauthenticated: or PermissionDenied, as the server says; the latter too for a
            network that is not fetched from. Unavailable: naming the host; also in the middle. InvalidArgument: no
            URL of HTTP.
        """
        ...

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        """Write it into a new file, with the server's time of it. Raises as :meth:`open`, and ResourceExhausted for the
        disk or ``limit_bytes``."""
        ...


@dataclass(frozen=True, slots=True)
class GitRemote:
    """A repository, what of it (a branch, tag or commit; empty: its default branch), and a folder in it.

    ``keep``: with the repository itself (``.git``), when it is no folder of it that is asked for.
    """

    url: str
    ref: str = ""
    folder: str = ""
    keep: bool = False


class GitRepositories(Protocol):
    """Remote git repositories."""

    async def checkout(self, remote: GitRemote, target: Path, *, timeout_s: float) -> None:
        """Files of one commit, submodules too, into an empty folder.

        Raises:
            Unavailable: in git's words. NotFound: kind ``git reference``. FailedPrecondition: git is not installed.
            DeadlineExceeded.
        """
        ...
