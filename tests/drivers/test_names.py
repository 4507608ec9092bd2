"""Who asks for names keeps nobody else waiting, and a name that cannot be one is a fault like any other."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from sharedrt.drivers.download import HttpDownloader
from sharedrt.drivers.logs import HostLogForwarder
from sharedrt.drivers.registry import HttpRegistry
from sharedrt.model.drivers import ForwardTarget
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import LogForward, LogTransport

HUNG = 12
"""More than there are threads in a loop's own pool on a small machine."""
LONG = f"{'a' * 64}.example"
"""A label that no name may have."""


async def pull(host: str) -> None:
    registry = HttpRegistry()
    try:
        await registry.repository(host, "app", None).resolve("1")
    finally:
        await registry.aclose()


async def download(host: str) -> None:
    async with HttpDownloader().open(f"http://{host}/file"):
        raise AssertionError("connected to nobody")


async def forward(host: str, scheme: str = "tcp") -> None:
    way = LogForward(LogTransport.SYSLOG, "{{.ID}}", f"{scheme}://{host}:514")
    async with HostLogForwarder().open(ForwardTarget(way, "c" * 64, "web", "busybox", "tag")):
        raise AssertionError("connected to nobody")


async def forward_privately(host: str) -> None:
    await forward(host, "tcp+tls")


Ask = Callable[[str], Awaitable[None]]
ALL = pytest.mark.parametrize("ask", [pull, download, forward, forward_privately])


@ALL
async def test_a_name_that_cannot_be_one(ask: Ask) -> None:
    with pytest.raises(Unavailable, match="Name or service not known"):
        await ask(LONG)


@ALL
async def test_name_servers_that_do_not_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    asked, answer = list[str](), threading.Event()

    def hangs(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:

        async def fails(number: int) -> None:
            with pytest.raises(Unavailable):
                await ask(f"host{number}.example")

        for number in range(HUNG):
            group.create_task(fails(number))
        try:
            async with asyncio.timeout(60):
                while len(asked) < HUNG:  # noqa: ASYNC110 - threads' doing
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(asked.sort)
        finally:
            answer.set()
