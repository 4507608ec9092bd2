"""The real command line in a process of its own, against the real admin door over fake services."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sharedrt.edges.admin import AdminDoor
from sharedrt.model.findings import Finding, Level
from tests.edges.containerd.fakes import FakeRuntime


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs ``sharedrt``; ``environment`` replaces the variable of the admin socket and nothing else."""

    socket: Path
    findings: list[Finding] = field(default_factory=list)

    async def __call__(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> Done:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert done.code == code, done
        return done

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sharedrt.cli", *arguments),
            env={**os.environ, "SHAREDRT_ADMIN_SOCKET": str(self.socket)},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Without a daemon: nobody listens at the socket."""
    with tempfile.TemporaryDirectory(prefix="srt-") as folder:
        yield Cli(Path(folder, "admin.sock"))


@pytest.fixture
async def daemon(cli: Cli, runtime: Any) -> AsyncIterator[FakeRuntime]:
    """The door is open; what it shows can be changed here."""
    cli.findings.append(Finding("kernel", Level.OK, "6.1"))

    async def check() -> Sequence[Finding]:
        return cli.findings

    async with AdminDoor(runtime, check=check).listening(cli.socket):
        yield runtime
