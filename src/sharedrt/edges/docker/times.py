"""Times in parameters and filters."""

import time

from sharedrt.edges.docker.words import bad_request
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.docker_time import parse_timestamp


def moment(text: str, name: str) -> int:
    """Nanoseconds; 0 when ``text`` is empty. Raises Refusal that names the parameter."""
    try:
        return max(parse_timestamp(text, now_ns=time.time_ns()), 0)
    except ValueError as error:
        raise bad_request(f"invalid value for '{name}': {error}") from error


def until_filter(filters: Filters) -> int:
    """The ``until`` filter of a prune, which takes one; 0: not given."""
    try:
        return moment(filters.one("until") or "", "until")
    except FilterError as error:
        raise bad_request(str(error)) from error


def earliest_until(filters: Filters) -> int:
    """The ``until`` filter of a list: the earliest of several; 0: not given."""
    return min((moment(text, "until") for text in filters.get("until")), default=0)
