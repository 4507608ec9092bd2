"""``GET /images/search``."""

from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.image_access import registry_auth
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.drivers import FoundRepository
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.go_numbers import MAX_INT64, parse_digits
from sharedrt.wire.reference import DEFAULT_DOMAIN, split_domain

_DEFAULT_LIMIT: Final = 25
_MAX_LIMIT: Final = 100


async def get_images_search(call: Call) -> web.StreamResponse:
    domain, term = _searched(call.text("term"))
    limit = call.integer("limit") or _DEFAULT_LIMIT
    if not 1 <= limit <= _MAX_LIMIT:
        raise bad_request(f"limit {limit} is outside the range of [1, {_MAX_LIMIT}]")
    filters = call.filters("is-automated", "is-official", "stars")
    try:
        official, automated = filters.boolean("is-official"), filters.boolean("is-automated")
    except FilterError as error:
        raise bad_request(str(error)) from error
    stars = max(_stars(filters), default=0)
    found = await call.runtime.images.search(domain, term, limit, credentials=registry_auth(call))
    return answer(
        [
            _render(each)
            for each in found
            if official in (None, each.official)
            and automated in (None, each.automated)
            and each.stars >= stars
        ]
    )


def _searched(term: str) -> tuple[str, str]:
    """The registry that a term names, as a reference does, and the rest. Raises Refusal."""
    if "://" in term:
        raise bad_request(
            f"invalid repository name: repository name ({term}) should not have a scheme"
        )
    domain, rest = split_domain(term)
    if not rest:
        raise bad_request("term cannot be empty")
    return domain, rest.removeprefix("library/") if domain == DEFAULT_DOMAIN else rest


def _stars(filters: Filters) -> Iterable[int]:
    for value in filters.get("stars"):
        if (stars := parse_digits(value, MAX_INT64)) is None:
            raise bad_request(f"invalid filter 'stars=[{value}]'")
        yield stars


def _render(found: FoundRepository) -> dict[str, Any]:
    return {
        "star_count": found.stars,
        "is_official": found.official,
        "name": found.name,
        "is_automated": found.automated,
        "description": found.description,
    }


ROUTES = (Route("GET", "/images/search", get_images_search),)
