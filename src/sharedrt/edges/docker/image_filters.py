"""Which images a list or prune wants."""

import re
from typing import Final

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.image_access import familiar, find_image
from sharedrt.edges.docker.render_image import created_ns
from sharedrt.edges.docker.times import earliest_until
from sharedrt.edges.docker.words import bad_request
from sharedrt.services.images import Image
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.go_regexp import Regexp, RegexpError, compile_regexp

LIST_FILTERS: Final = ("before", "dangling", "label", "reference", "since", "until")


class ImageFilter:
    """A list's selection. Raises Refusal for values that make no sense, NotFound for unknown images."""

    def __init__(self, call: Call, filters: Filters) -> None:
        self._filters = filters
        self._until = earliest_until(filters)
        self._before = _created(call, filters, "before")
        self._since = _created(call, filters, "since")
        self._references = [_glob(pattern) for pattern in filters.get("reference")]
        try:
            self._dangling = filters.boolean("dangling")
        except FilterError as error:
            raise bad_request(str(error)) from error

    def passes(self, image: Image) -> bool:
        created = created_ns(image)
        return (
            (self._dangling is None or self._dangling == (not image.repo_tags))
            and self._filters.labels(image.config.labels)
            and (self._until is None or created < self._until)
            and (self._before is None or created < self._before)
            and (self._since is None or created > self._since)
            and (not self._references or bool(self.matching(image)))
        )

    def matching(self, image: Image) -> tuple[str, ...]:
        """The full references of an image that the ``reference`` filter lets through; all without one."""
        if not self._references:
            return image.references
        return tuple(name for name in image.references if self._matches(name))

    def _matches(self, reference: str) -> bool:
        whole = familiar(reference)
        name = _without_tag(whole)
        return any(pattern.fullmatch(t) for pattern in self._references for t in (whole, name))


def _without_tag(reference: str) -> str:
    head, slash, last = reference.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


def _glob(pattern: str) -> Regexp:
    """Go's path.Match: ``*`` and ``?`` stop at slashes."""
    translated = ""
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "*":
            translated += "[^/]*"
        elif char == "?":
            translated += "[^/]"
        elif char == "[":
            if "]" not in pattern[index + 1 :]:
                raise bad_request("syntax error in pattern")
            end = pattern.index("]", index + 1)
            translated += pattern[index : end + 1]
            index = end
        else:
            translated += re.escape(char)
        index += 1
    try:
        return compile_regexp(translated)
    except RegexpError as error:
        raise bad_request("syntax error in pattern") from error


def _created(call: Call, filters: Filters, name: str) -> int | None:
    values = filters.get(name)
    if not values:
        return None
    found = [created_ns(find_image(call, reference)) for reference in values]
    return min(found) if name == "before" else max(found)
