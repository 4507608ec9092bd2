"""The registries of the world, as configured (:class:`sharedrt.model.drivers.Registry`)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from sharedrt.drivers.registry.auth import Authorizations, fetch_token
from sharedrt.drivers.registry.challenge import parse_challenges
from sharedrt.drivers.registry.connections import Connections
from sharedrt.drivers.registry.endpoint import Endpoint
from sharedrt.drivers.registry.hosts import (
    DOCKER_HUB,
    DOCKER_HUB_HOST,
    RESOLVE,
    HostsConfig,
    RegistryHost,
)
from sharedrt.drivers.registry.repository import HttpRepository, most_telling
from sharedrt.drivers.registry.search import search
from sharedrt.model.drivers import Credentials, FoundRepository
from sharedrt.model.faults import (
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

_DOCKER_HUB_SEARCH = "index.docker.io"
_DOCKER_HUB_NAMES = frozenset({DOCKER_HUB, _DOCKER_HUB_SEARCH, DOCKER_HUB_HOST})


_NEXT_HOST = (
    NotFound,
    Unauthenticated,
    PermissionDenied,
    Unavailable,
    DeadlineExceeded,
    InvalidArgument,
)


class HttpRegistry:
    """Implements Registry. To be closed with :meth:`aclose`.

    Args:
        config_dirs: roots of ``HOST/hosts.toml``, the first with a host's folder wins.
        insecure: ``host[:port]`` or networks that may be spoken to without verified TLS.
        stall_timeout_s: how long a host may send, or take, no byte.
    """

    def __init__(
        self,
        config_dirs: Sequence[Path] = (),
        *,
        insecure: Sequence[str] = (),
        stall_timeout_s: float = 60.0,
    ) -> None:
        self._hosts = HostsConfig(config_dirs, insecure)
        self._stall_timeout_s = stall_timeout_s
        self._connections = Connections()
        self._authorizations = Authorizations()

    def repository(
        self, host: str, path: str, credentials: Credentials | None, *, push: bool = False
    ) -> HttpRepository:
        """A repository of the registry ``host``; its configuration is read at the first use."""
        scopes = (f"repository:{path}:pull,push" if push else f"repository:{path}:pull",)

        async def endpoints() -> Sequence[Endpoint]:
            hosts = await asyncio.to_thread(self._hosts.hosts_for, host)
            return [self._endpoint(each, host, path, credentials, scopes) for each in hosts]

        return HttpRepository(host, path, endpoints)

    async def search(
        self, host: str, term: str, limit: int, credentials: Credentials | None
    ) -> Sequence[FoundRepository]:
        """See the contract. The first host that answers is the one that counts."""
        hosts = await asyncio.to_thread(self._hosts.hosts_for, host)
        faults: list[Fault] = []
        for each in hosts:
            if RESOLVE not in each.capabilities:
                continue
            if each.authority == DOCKER_HUB_HOST:
                each = replace(each, authority=_DOCKER_HUB_SEARCH)
            endpoint = self._endpoint(each, host, "", credentials, ())
            try:
                return await search(endpoint, host, term, limit)
            except _NEXT_HOST as fault:
                faults.append(fault)
        if not faults:
            raise FailedPrecondition("registry", host, "no host of it may be searched")
        raise most_telling(faults)

    async def login(self, credentials: Credentials) -> str:
        """See the contract."""
        domain = _domain_of(credentials.server_address) or DOCKER_HUB
        hosts = await asyncio.to_thread(self._hosts.hosts_for, domain)
        host = next((each for each in hosts if each.own), None)
        if host is None:
            raise FailedPrecondition("registry", domain, "no host of it takes its credentials")
        # Anonymous at first: only the challenge tells how to log in.
        probe = self._endpoint(host, domain, "", None, ())
        async with probe.request("GET", probe.url(""), authorize=False) as response:
            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            if response.status != 401:
                await probe.check(response, "registry", domain)
                return ""
        session = await self._connections.session(host.tls)
        for challenge in challenges:
            if challenge.scheme == "bearer":
                token = await fetch_token(
                    challenge, probe.origin, (), credentials, session, offline=True
                )
                return token.refresh
        endpoint = self._endpoint(host, domain, "", credentials, ())
        async with endpoint.request("GET", endpoint.url("")) as response:
            await endpoint.check(response, "registry", domain)
        return ""

    async def aclose(self) -> None:
        await self._connections.aclose()

    def _endpoint(
        self,
        host: RegistryHost,
        domain: str,
        path: str,
        credentials: Credentials | None,
        scopes: tuple[str, ...],
    ) -> Endpoint:
        return Endpoint(
            host,
            domain,
            path,
            _credentials_for(host, domain, credentials),
            scopes=scopes,
            connections=self._connections,
            authorizations=self._authorizations,
            stall_timeout_s=self._stall_timeout_s,
        )


def _credentials_for(
    host: RegistryHost, domain: str, credentials: Credentials | None
) -> Credentials | None:
    """A registry's credentials are for the registry itself; a mirror gets only what names it."""
    if credentials is None or credentials == Credentials():
        return None
    address = _domain_of(credentials.server_address)
    if host.own:
        if address in ("", domain, host.authority):
            return credentials
        same_hub = {address, domain} <= _DOCKER_HUB_NAMES
        return credentials if same_hub else None
    return credentials if address == host.authority else None


def _domain_of(address: str) -> str:
    """``host[:port]`` of what clients give as server address, which may be a URL."""
    if not address:
        return ""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
    except ValueError as error:
        raise InvalidArgument("server address", address, str(error)) from error
    if not parts.netloc:
        raise InvalidArgument("server address", address, "names no host")
    authority = parts.netloc.rpartition("@")[2]
    return DOCKER_HUB if authority in _DOCKER_HUB_NAMES else authority
