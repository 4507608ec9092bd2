"""Addresses of names, asked of the host's resolver on threads of their own: where no name server answers, those who ask
for names wait for each other, and nobody else does.
"""

import asyncio
import socket
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from sharedrt.aio.priority import thread_pool

_THREADS: Final = 16

Place = tuple[Any, ...]
"""As of :meth:`socket.socket.connect`."""
_pool = cache(partial(thread_pool, _THREADS, "names"))


async def addresses(
    host: str | None,
    port: int | None,
    kind: socket.SocketKind,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = 0,
) -> Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Place]]:
    """As ``getaddrinfo`` gives them. A cancelled caller does not wait for the answer. Raises OSError."""
    ask = partial(socket.getaddrinfo, host, port, family, kind, flags=flags)
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool(), ask)
    except UnicodeError as error:  # a label is empty or over-long: Python does not ask for it
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error


def numeric(place: Place) -> str:
    """The address as text."""
    if len(place) == 4 and place[3]:  # a link's own
        return f"{place[0]}%{place[3]}"
    return str(place[0])


class NameResolver(AbstractResolver):
    """For the connections of an HTTP client."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await addresses(
            host, port, socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        results = []
        for family, _, protocol, _, place in found:
            if len(place) == 2 and family == socket.AF_INET6:
                continue  # a Python without IPv6
            results.append(
                ResolveResult(
                    hostname=host,
                    host=numeric(place),
                    port=int(place[1]),
                    family=family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """The threads are everybody's."""
