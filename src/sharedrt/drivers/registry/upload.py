"""A blob to a registry (OCI distribution spec, "Pushing blobs"): HEAD, mount, else POST and one PUT."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp
import yarl

from sharedrt.drivers.registry.endpoint import Endpoint
from sharedrt.model.faults import DeadlineExceeded, Fault, Unavailable
from sharedrt.model.records import Descriptor

_ATTEMPTS: Final = 3
_BACKOFF_S: Final = 0.5

Content = Callable[[], AsyncIterator[bytes]]
Progress = Callable[[int], None] | None


async def upload(
    endpoint: Endpoint,
    descriptor: Descriptor,
    content: Content,
    mount_from: str,
    progress: Progress,
) -> bool:
    """Put the blob there; False when it was there, or could be mounted from the repository ``mount_from``.

    A broken upload begins again: registries differ too much in what they keep of one.
    """
    url = endpoint.url(f"blobs/{descriptor.digest}")
    async with endpoint.request("HEAD", url) as response:
        if response.status == 200:
            return False
        if response.status != 404:
            await endpoint.check(response, "blob", descriptor.digest)
    for attempt in range(1, _ATTEMPTS + 1):
        location = await _begin(endpoint, descriptor, mount_from)
        if location is None:
            return False
        try:
            await _put(endpoint, descriptor, location, content, progress)
        except (Unavailable, DeadlineExceeded):
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_BACKOFF_S * attempt)
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


async def _begin(endpoint: Endpoint, descriptor: Descriptor, mount_from: str) -> yarl.URL | None:
    """Open an upload; ``None`` when the mount has made it needless."""
    query, scopes = {}, None
    if mount_from and mount_from != endpoint.path:
        query = {"mount": descriptor.digest, "from": mount_from}
        scopes = (f"repository:{endpoint.path}:pull,push", f"repository:{mount_from}:pull")
    url = endpoint.url("blobs/uploads/", query)
    try:
        async with endpoint.request("POST", url, length=0, scopes=scopes) as response:
            if response.status == 201 and query:
                return None
            await endpoint.check(response, "upload to", endpoint.path)
            location = response.headers.get("Location", "")
            origin = response.url
    except Fault:
        if not query:
            raise
        # A token server may refuse the other repository's scope; the upload itself may still do.
        return await _begin(endpoint, descriptor, "")
    if not location:
        raise Unavailable(endpoint.name, "opens an upload without saying where")
    target = origin.join(yarl.URL(location, encoded=True))
    if target.authority == origin.authority and target.scheme != origin.scheme:
        # A registry behind a proxy that ends TLS does not know its own scheme.
        target = target.with_scheme(origin.scheme)
    return target


async def _put(
    endpoint: Endpoint,
    descriptor: Descriptor,
    location: yarl.URL,
    content: Content,
    progress: Progress,
) -> None:
    separator = "&" if location.raw_query_string else "?"
    # By hand, since the state in the location is signed as it is written.
    url = yarl.URL(f"{location}{separator}digest={descriptor.digest}", encoded=True)
    stall_s = endpoint.stall_timeout_s
    answered = False

    async def body() -> AsyncIterator[bytes]:
        sent = 0
        async for data in content():
            if answered:
                return  # refused half way: nobody reads the rest
            deadline.reschedule(asyncio.get_running_loop().time() + stall_s)
            yield data
            sent += len(data)
            if progress is not None:
                progress(sent)
        # All is written; from here on the wait for the answer has its own bound.
        if not answered:
            deadline.reschedule(None)

    try:
        async with (
            asyncio.timeout(None) as deadline,
            endpoint.request(
                "PUT",
                url,
                headers={"Content-Type": "application/octet-stream"},
                body=body,
                length=descriptor.size,
                attempts=1,
            ) as response,
        ):
            answered = True
            deadline.reschedule(None)
            await endpoint.check(response, "upload to", endpoint.path)
    except TimeoutError as error:
        raise DeadlineExceeded(endpoint.name, stall_s) from error
    except aiohttp.ClientError as error:
        endpoint.fail(error)
