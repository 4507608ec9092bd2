"""Searching a registry: by the search of Docker's first registry API, which Docker Hub and some others still have,
else through the catalogue of the second (distribution's "Listing Repositories")."""

import json
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import yarl

from sharedrt.drivers.registry.answers import read_all
from sharedrt.drivers.registry.endpoint import Endpoint
from sharedrt.drivers.registry.hosts import DOCKER_HUB
from sharedrt.model.drivers import FoundRepository
from sharedrt.model.faults import ResourceExhausted, Unavailable

CATALOG_SCOPE: Final = "registry:catalog:*"
_MAX_ANSWER_BYTES: Final = 4 << 20
_PAGE: Final = 1000
_MAX_PAGES: Final = 100
_HAS_NO_SEARCH: Final = frozenset({400, 401, 403, 404, 405, 410, 501})
_OFFICIAL: Final = "library/"


async def search(
    endpoint: Endpoint, domain: str, term: str, limit: int
) -> Sequence[FoundRepository]:
    """Ask one host. See :meth:`sharedrt.model.drivers.Registry.search`."""
    found = await _ask(endpoint, term, limit)
    return await _look_through(endpoint, domain, term, limit) if found is None else found


async def _ask(endpoint: Endpoint, term: str, limit: int) -> Sequence[FoundRepository] | None:
    """The host's own search; ``None`` when it has none."""
    url = endpoint.url_of("/v1/search", {"q": term, "n": str(limit)})
    async with endpoint.request("GET", url, authorize=False) as response:
        if response.status in _HAS_NO_SEARCH:
            return None
        await endpoint.check(response, "search", term)
        document = await _json(endpoint, response)
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list):
        return None  # a page for people, at a path that means nothing to the host
    return [_result(entry) for entry in results[:limit] if isinstance(entry, dict)]


def _result(entry: dict[str, Any]) -> FoundRepository:
    stars = entry.get("star_count")
    return FoundRepository(
        name=str(entry.get("name") or ""),
        description=str(entry.get("description") or ""),
        stars=stars if isinstance(stars, int) else 0,
        official=entry.get("is_official") is True,
        automated=entry.get("is_automated") is True,
    )


async def _look_through(
    endpoint: Endpoint, domain: str, term: str, limit: int
) -> Sequence[FoundRepository]:
    """Names in the catalogue that hold the term; one that is just the term comes first."""
    wanted = term.lower()
    names: list[str] = []
    url = endpoint.url_of(f"{endpoint.host.path}/_catalog", {"n": str(_PAGE)})
    for _ in range(_MAX_PAGES):
        async with endpoint.request("GET", url, scopes=(CATALOG_SCOPE,)) as response:
            await endpoint.check(response, "catalogue", domain)
            document = await _json(endpoint, response)
            following = response.links.get("next")
        page = document.get("repositories") if isinstance(document, dict) else None
        if not isinstance(page, list):
            raise Unavailable(endpoint.name, "answers no list of repositories")
        names += [name for name in page if isinstance(name, str) and wanted in name.lower()]
        if following is None:
            break
        url = url.join(yarl.URL(str(following["url"])))
    hub = domain == DOCKER_HUB
    names.sort(key=lambda name: (_short(name, hub).lower() != wanted, len(name), name))
    return [
        FoundRepository(_short(name, hub), official=hub and name.startswith(_OFFICIAL))
        for name in names[:limit]
    ]


def _short(name: str, hub: bool) -> str:
    return name.removeprefix(_OFFICIAL) if hub else name


async def _json(endpoint: Endpoint, response: aiohttp.ClientResponse) -> Any:
    """The body; ``None`` when it is no JSON."""
    try:
        body = await read_all(response, _MAX_ANSWER_BYTES)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        endpoint.fail(error)
    except ResourceExhausted as fault:
        raise Unavailable(endpoint.name, fault.reason) from fault
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
