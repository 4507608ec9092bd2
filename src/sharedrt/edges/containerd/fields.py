"""Which fields of each object a filter can name (containerd's ``core/metadata/adaptors.go``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sharedrt.wire.containerd_filter import Fields, map_field, parse_filters

T = TypeVar("T")


def fields_of(
    plain: Mapping[str, str], maps: Mapping[str, Mapping[str, str]] | None = None
) -> Fields:
    """A lookup over plain fields (dotted for nested ones: ``target.digest``) and maps (``labels``).

    An empty plain field counts as absent, as in containerd.
    """

    def look(path: Sequence[str]) -> str | None:
        if maps is not None and path[0] in maps:
            return map_field(path[1:], maps[path[0]])
        return plain.get(".".join(path)) or None

    return look


def select(items: Sequence[T], filters: Sequence[str], fields: Callable[[T], Fields]) -> list[T]:
    """The items that pass. Raises InvalidArgument for a malformed filter."""
    wanted = parse_filters(filters)
    if not wanted.filters:
        return list(items)
    return [item for item in items if wanted.matches(fields(item))]
