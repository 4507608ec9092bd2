"""Remote git repositories, by the host's git (:class:`sharedrt.model.drivers.GitRepositories`)."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import run_blocking
from sharedrt.drivers.children import run_whole
from sharedrt.model.drivers import GitRemote
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable

_MAX_WORDS: Final = 2000
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_SETTINGS: Final = (
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.git.allow=always",
    "protocol.ssh.allow=always",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "init.defaultBranch=main",
    "advice.detachedHead=false",
)
"""No local paths, no helpers, nothing of the repository is run."""


class HostGit:
    """Implements GitRepositories: one git process after the other, none of which may ask anybody anything."""

    async def checkout(self, remote: GitRemote, target: Path, *, timeout_s: float) -> None:
        git = shutil.which("git")
        if git is None:
            raise FailedPrecondition("git", "", "is not installed on this host (package git)")
        for text in (remote.url, remote.ref):
            if text.startswith("-"):
                raise NotFound("git reference", text)
        try:
            async with asyncio.timeout(timeout_s):
                await self._checkout(git, remote, target)
        except TimeoutError as error:
            raise DeadlineExceeded(f"git fetch of {remote.url}", timeout_s) from error

    async def _checkout(self, git: str, remote: GitRemote, target: Path) -> None:
        work = target.parent / "git"
        await _run(git, target.parent, "init", "--quiet", str(work))
        ref = remote.ref or "HEAD"
        fetch = ("fetch", "--quiet", "--depth", "1", "--no-tags", remote.url)
        try:
            await _run(git, work, *fetch, ref)
            found = "FETCH_HEAD"
        except Unavailable:
            if not _COMMIT.fullmatch(ref):
                raise
            # A server that gives no single commits, or a shortened id: all of it, then.
            await _run(git, work, "fetch", "--quiet", remote.url, "+refs/heads/*:refs/remotes/o/*")
            found = ref
        await _run(git, work, "checkout", "--quiet", "--force", found)
        if (work / ".gitmodules").is_file():
            await _run(
                git, work, "submodule", "update", "--quiet", "--init", "--recursive", "--depth", "1"
            )
        await run_blocking(None, _move, work, remote, target)


def _move(work: Path, remote: GitRemote, target: Path) -> None:
    """A folder of the work tree becomes the target; links do not lead out of it."""
    source = (work / remote.folder.strip("/")).resolve()
    if not source.is_relative_to(work.resolve()) or not source.is_dir():
        raise NotFound("git folder", remote.folder)
    target.rmdir()
    os.rename(source, target)
    if not remote.keep:
        shutil.rmtree(target / ".git", ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


async def _run(git: str, folder: Path, *arguments: str) -> None:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    finished = await run_whole(
        [git, *settings, *arguments],
        timeout_s=None,
        folder=str(folder),
        env={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/true",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "LC_ALL": "C",
        },
    )
    if finished.exit_code:
        reason = finished.errors[-_MAX_WORDS:].strip()
        raise Unavailable("git", reason or f"{arguments[0]} ended with {finished.exit_code}")
