"""A repository through all hosts that serve it (:class:`sharedrt.model.drivers.Repository`)."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

import aiohttp
import structlog

from sharedrt.drivers.registry.answers import read_all
from sharedrt.drivers.registry.download import download
from sharedrt.drivers.registry.endpoint import ATTEMPTS, Endpoint
from sharedrt.drivers.registry.hosts import PULL, PUSH, RESOLVE
from sharedrt.drivers.registry.upload import upload
from sharedrt.model.drivers import Ingest
from sharedrt.model.faults import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from sharedrt.model.ids import Digest, parse_digest
from sharedrt.model.records import Descriptor
from sharedrt.wire import media_types

T = TypeVar("T")
log = structlog.get_logger(__name__)

MAX_MANIFEST_BYTES: Final = 4 << 20
_MAX_TAGS_BYTES: Final = 16 << 20
"""Of all pages together."""
_MAX_TAG_PAGES: Final = 1000
_ACCEPT: Final = ", ".join((*media_types.ACCEPTED, "*/*"))
_NEXT_HOST: Final = (
    NotFound,
    Unauthenticated,
    PermissionDenied,
    Unavailable,
    DeadlineExceeded,
    DataLoss,
    InvalidArgument,
)


class HttpRepository:
    """One client's view of a repository; ``endpoints`` is called at the first use."""

    def __init__(
        self, domain: str, path: str, endpoints: Callable[[], Awaitable[Sequence[Endpoint]]]
    ) -> None:
        self._domain, self._path = domain, path
        self._endpoints = endpoints
        self._known: Sequence[Endpoint] | None = None

    async def resolve(self, reference: str) -> Descriptor:
        """See the contract."""

        async def attempt(endpoint: Endpoint, attempts: int) -> Descriptor:
            return await _resolve(endpoint, reference, self._name(reference), attempts)

        # A tag may be resolved only where the configuration trusts a host with it; a digest proves itself.
        needed = {PULL} if ":" in reference else {PULL, RESOLVE}
        return await self._on_hosts(needed, attempt)

    async def manifest(self, descriptor: Descriptor) -> bytes:
        """See the contract."""
        if descriptor.size > MAX_MANIFEST_BYTES:
            raise ResourceExhausted(f"manifest {descriptor.digest}", "over 4 MiB")

        async def attempt(endpoint: Endpoint, attempts: int) -> bytes:
            resource = f"manifests/{descriptor.digest}"
            accept = f"{descriptor.media_type}, */*" if descriptor.media_type else _ACCEPT
            async with endpoint.request(
                "GET", endpoint.url(resource), headers={"Accept": accept}, attempts=attempts
            ) as response:
                await endpoint.check(response, "manifest", self._name(descriptor.digest))
                data = await _body(endpoint, response, MAX_MANIFEST_BYTES)
            algorithm, _, encoded = descriptor.digest.partition(":")
            actual = hashlib.new(algorithm, data).hexdigest()
            if actual != encoded:
                raise DataLoss(
                    f"manifest {descriptor.digest} from {endpoint.name}",
                    f"has the digest {algorithm}:{actual}",
                )
            return data

        return await self._on_hosts({PULL}, attempt)

    async def fetch_blob(
        self, descriptor: Descriptor, into: Ingest, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """See the contract."""

        async def attempt(endpoint: Endpoint, attempts: int) -> None:
            try:
                await download(endpoint, descriptor, into, progress, attempts)
            except DataLoss:
                await into.truncate()  # bytes of a broken host are nothing to go on from
                raise

        await self._on_hosts({PULL}, attempt)

    async def has_blob(self, digest: Digest) -> bool:
        """See the contract."""

        async def attempt(endpoint: Endpoint, attempts: int) -> bool:
            async with endpoint.request(
                "HEAD", endpoint.url(f"blobs/{digest}"), attempts=attempts
            ) as response:
                await endpoint.check(response, "blob", digest)
                return True

        try:
            return await self._on_hosts({PULL}, attempt)
        except (NotFound, Unauthenticated, PermissionDenied):
            return False

    async def push_blob(
        self,
        descriptor: Descriptor,
        content: Callable[[], AsyncIterator[bytes]],
        *,
        mount_from: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """See the contract."""
        endpoint = await self._push_endpoint()
        return await upload(endpoint, descriptor, content, mount_from, progress)

    async def push_manifest(self, tag_or_digest: str, media_type: str, data: bytes) -> Digest:
        """See the contract."""
        endpoint = await self._push_endpoint()
        own = Digest("sha256:" + hashlib.sha256(data).hexdigest())

        async def body() -> AsyncIterator[bytes]:
            yield data

        async with endpoint.request(
            "PUT",
            endpoint.url(f"manifests/{tag_or_digest}"),
            headers={"Content-Type": media_type},
            body=body,
            length=len(data),
        ) as response:
            await endpoint.check(response, "manifest", self._name(tag_or_digest))
            told = response.headers.get("Docker-Content-Digest", own)
        if told.startswith("sha256:") and told != own:
            raise DataLoss(f"manifest {own}", f"{endpoint.name} says that it has stored {told}")
        return own

    async def tags(self) -> Sequence[str]:
        """See the contract."""

        async def attempt(endpoint: Endpoint, attempts: int) -> Sequence[str]:
            found: list[str] = []
            left = _MAX_TAGS_BYTES
            url = endpoint.url("tags/list")
            for _ in range(_MAX_TAG_PAGES):
                async with endpoint.request("GET", url, attempts=attempts) as response:
                    await endpoint.check(response, "repository", f"{self._domain}/{self._path}")
                    body = await _body(endpoint, response, left)
                    left -= len(body)
                    try:
                        page = json.loads(body)
                        found += [str(tag) for tag in page.get("tags") or ()]
                    except (ValueError, AttributeError, TypeError, RecursionError) as error:
                        raise Unavailable(endpoint.name, "answers no list of tags") from error
                    following = response.links.get("next")
                if following is None:
                    break
                url = url.join(following["url"])  # type: ignore[arg-type]
            return found

        return await self._on_hosts({PULL, RESOLVE}, attempt)

    def _name(self, reference: str) -> str:
        joint = "@" if ":" in reference else ":"
        return f"{self._domain}/{self._path}{joint}{reference}"

    async def _all(self) -> Sequence[Endpoint]:
        if self._known is None:
            self._known = await self._endpoints()
        return self._known

    async def _push_endpoint(self) -> Endpoint:
        for endpoint in await self._all():
            if PUSH in endpoint.host.capabilities and (
                endpoint.host.own or not endpoint.host.mirror
            ):
                return endpoint
        raise FailedPrecondition("registry", self._domain, "no host of it is configured for push")

    async def _on_hosts(
        self, needed: set[str], attempt: Callable[[Endpoint, int], Awaitable[T]]
    ) -> T:
        """The first host's success; else the fault that says most.

        A host that answers goes before one that does not, and 'you may not' before 'unknown'.
        """
        endpoints = [e for e in await self._all() if needed <= e.host.capabilities]
        faults: list[Fault] = []
        guesses: list[Fault] = []
        final = False
        for number, endpoint in enumerate(endpoints):
            if endpoint.host.implied and final:
                break
            last = number == len(endpoints) - 1
            try:
                return await attempt(endpoint, ATTEMPTS if last else 1)
            except _NEXT_HOST as fault:
                # That a host which nobody configured cannot be reached says little beside the others' faults.
                unreachable = isinstance(fault, (Unavailable, DeadlineExceeded))
                (guesses if endpoint.host.implied and unreachable else faults).append(fault)
                # The trusted mirror knows the name's registry, and that there is no such thing.
                final = final or (
                    isinstance(fault, NotFound) and RESOLVE in endpoint.host.capabilities
                )
                log.debug("registry host failed", host=endpoint.host.authority, reason=str(fault))
        if not faults and not guesses:
            raise FailedPrecondition(
                "registry",
                self._domain,
                f"no host of it is configured for {' and '.join(sorted(needed))}",
            )
        raise most_telling(faults or guesses)


def most_telling(faults: Sequence[Fault]) -> Fault:
    """Of several hosts' faults the one that says most."""
    for kinds in (
        (Unauthenticated, PermissionDenied),
        (DataLoss, InvalidArgument),
        (NotFound,),
    ):
        for fault in faults:
            if isinstance(fault, kinds):
                return fault
    if len(faults) == 1:
        return faults[0]
    for fault in faults:
        if isinstance(fault, DeadlineExceeded):
            return fault
    joined = Unavailable("registry", "; ".join(str(fault) for fault in faults))
    joined.__cause__ = faults[-1]
    return joined


async def _resolve(endpoint: Endpoint, reference: str, name: str, attempts: int) -> Descriptor:
    """HEAD, and GET where HEAD does not tell all or fails (a failed HEAD has no words in it)."""
    url = endpoint.url(f"manifests/{reference}")
    headers = {"Accept": _ACCEPT}
    async with endpoint.request("HEAD", url, headers=headers, attempts=attempts) as response:
        if response.status == 404:
            raise NotFound("manifest", name)
        if response.status == 200 and (found := _described(endpoint, response, reference)):
            return found
    async with endpoint.request("GET", url, headers=headers, attempts=attempts) as response:
        await endpoint.check(response, "manifest", name)
        data = await _body(endpoint, response, MAX_MANIFEST_BYTES)
        digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
        if ":" in reference:
            digest = parse_digest(reference)  # verified when its bytes are fetched
        return Descriptor(_media_type(response), digest, len(data))


def _described(
    endpoint: Endpoint, response: aiohttp.ClientResponse, reference: str
) -> Descriptor | None:
    told = response.headers.get("Docker-Content-Digest", reference)
    length = response.headers.get("Content-Length", "")
    if ":" not in told or not length.isdecimal():
        return None
    try:
        digest = parse_digest(told)
    except InvalidArgument as error:
        raise Unavailable(endpoint.name, f"names a malformed digest {told[:80]!r}") from error
    if ":" in reference and digest != reference:
        raise DataLoss(f"manifest {reference}", f"{endpoint.name} says that it is {digest}")
    if int(length) > MAX_MANIFEST_BYTES:
        raise ResourceExhausted(f"manifest {digest}", "over 4 MiB")
    return Descriptor(_media_type(response), digest, int(length))


def _media_type(response: aiohttp.ClientResponse) -> str:
    """The manifest's type; empty for one that says nothing, so that the document decides."""
    media_type = response.content_type
    if media_type in media_types.SCHEMA1:
        raise Unimplemented(
            "image manifest version 2, schema 1 (rebuild or push the image again with a newer tool)"
        )
    known = media_type in media_types.ACCEPTED
    return media_type if known or media_type not in _TELLS_NOTHING else ""


_TELLS_NOTHING: Final = frozenset({"application/json", "application/octet-stream", "text/plain"})


async def _body(endpoint: Endpoint, response: aiohttp.ClientResponse, limit: int) -> bytes:
    try:
        return await read_all(response, limit)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        endpoint.fail(error)
    except asyncio.IncompleteReadError as error:
        raise Unavailable(endpoint.name, "the answer is cut short") from error
