"""A blob into an ingest, taken up again where a broken connection left it."""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp

from sharedrt.drivers.registry.endpoint import Endpoint
from sharedrt.model.drivers import Ingest
from sharedrt.model.faults import DataLoss
from sharedrt.model.records import Descriptor

_ATTEMPTS: Final = 5
"""Connections in a row that may bring nothing."""
_BACKOFF_S: Final = 0.2


async def download(
    endpoint: Endpoint,
    descriptor: Descriptor,
    into: Ingest,
    progress: Callable[[int], None] | None,
    attempts: int,
) -> None:
    """Fetch until ``descriptor.size`` bytes are there. Every connection that brings bytes earns another.

    Raises:
        DataLoss: the host's blob is longer or shorter. DeadlineExceeded: it stalls. NotFound, Unavailable ...
    """
    if into.offset > descriptor.size:
        await into.truncate()
    left = _ATTEMPTS
    restarted = False
    while into.offset < descriptor.size or (descriptor.size == 0 and left == _ATTEMPTS):
        before = into.offset
        error = await _once(endpoint, descriptor, into, progress, attempts)
        if into.offset >= descriptor.size:
            return
        if error is None:
            # A clean end too early: the host has less than the manifest says. Once more from the
            # start, in case the bytes at hand were another host's and of no use here.
            if restarted or before == 0:
                raise DataLoss(
                    f"blob {descriptor.digest} from {endpoint.name}",
                    f"is truncated: {into.offset} of {descriptor.size} bytes",
                )
            await into.truncate()
            restarted = True
            continue
        left = _ATTEMPTS if into.offset > before else left - 1
        if left == 0 or isinstance(error, TimeoutError):
            endpoint.fail(error)
        await asyncio.sleep(_BACKOFF_S * (_ATTEMPTS - left + 1))


async def _once(
    endpoint: Endpoint,
    descriptor: Descriptor,
    into: Ingest,
    progress: Callable[[int], None] | None,
    attempts: int,
) -> Exception | None:
    """One connection: what broke it, or ``None`` for an orderly end."""
    headers = {"Range": f"bytes={into.offset}-"} if into.offset else {}
    url = endpoint.url(f"blobs/{descriptor.digest}")
    async with endpoint.request("GET", url, headers=headers, attempts=attempts) as response:
        if response.status == 416:
            return None
        await endpoint.check(response, "blob", descriptor.digest)
        if into.offset and not _continues(response, into.offset):
            await into.truncate()
        try:
            async for data in response.content.iter_any():
                if into.offset + len(data) > descriptor.size:
                    raise DataLoss(
                        f"blob {descriptor.digest} from {endpoint.name}",
                        f"is longer than its {descriptor.size} bytes",
                    )
                await into.write(data)
                if progress is not None:
                    progress(into.offset)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return error
    return None


def _continues(response: aiohttp.ClientResponse, offset: int) -> bool:
    """Whether the answer begins at ``offset``; a host without ranges sends all from the start."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return response.status == 206 and begins
