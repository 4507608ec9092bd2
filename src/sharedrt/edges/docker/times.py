"""Times in parameters and filters."""

import time
from typing import Final

from sharedrt.edges.docker.words import bad_request
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.docker_time import parse_timestamp

_LATEST_NS: Final = (1 << 63) - 1


def moment(text: str, name: str) -> int | None:
    """Nanoseconds, as far as a database can count them; ``None`` when ``text`` is empty.

    A moment in or before 1970 is one like others: ``until`` it there is nothing, ``since`` it all.

    Raises:
        Refusal: names the parameter.
    """
    if not text:
        return None
    try:
        moment_ns = parse_timestamp(text, now_ns=time.time_ns())
    except ValueError as error:
        raise bad_request(f"invalid value for '{name}': {error}") from error
    return min(max(moment_ns, -_LATEST_NS), _LATEST_NS)


def until_filter(filters: Filters) -> int | None:
    """The ``until`` filter of a prune, which takes one; ``None``: not given. An empty one is 1970, as at dockerd."""
    try:
        text = filters.one("until")
    except FilterError as error:
        raise bad_request(str(error)) from error
    return None if text is None else moment(text or "0", "until")


def earliest_until(filters: Filters) -> int | None:
    """The ``until`` filter of a list: the earliest of several; ``None``: not given."""
    given = (moment(text or "0", "until") for text in filters.get("until"))
    return min((ns for ns in given if ns is not None), default=None)
