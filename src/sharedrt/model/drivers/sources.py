"""Where a build gets files from."""

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


class Downloader(Protocol):
    """Files from HTTP servers."""

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        """Write what a URL leads to (redirects followed) into a new file, with the server's time of it.

        Raises:
            NotFound: kind ``url``. Unavailable: naming the host. ResourceExhausted: the disk, or ``limit_bytes``.
            InvalidArgument: no URL of HTTP.
        """
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
