"""Which handler a method and path belong to.

A table of its own, and not aiohttp's router: the version prefix comes off before, image names hold slashes,
and dockerd answers an unknown method as it answers an unknown path.
"""

import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from sharedrt.edges.docker.call import Call

Handler: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` holds ``{name}`` for one path segment, ``{name*}`` for one or more (an image's name), ``{name+}`` for
    one or two (a container's, or that of a link)."""

    method: str
    path: str
    handler: Handler


class Router:
    """Routes by method and first path segment; the first that fits wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._table: dict[tuple[str, str], list[tuple[re.Pattern[str], Handler]]] = {}
        for route in routes:
            first = route.path.split("/", 2)[1]
            pattern = re.compile(_pattern(route.path))
            self._table.setdefault((route.method, first), []).append((pattern, route.handler))

    def match(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]] | None:
        """The handler and the path's parameters."""
        if not path.startswith("/"):
            return None
        first = path.split("/", 2)[1]
        for pattern, handler in self._table.get((method, first), ()):
            if found := pattern.fullmatch(path):
                return handler, found.groupdict()
        return None


def clean_path(path: str) -> str:
    """Without empty parts and dots, to which dockerd redirects. Some clients write a slash too many behind the host."""
    if "//" not in path and "/." not in path:
        return path
    clean = posixpath.normpath(f"/{path.lstrip('/')}")
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _pattern(path: str) -> str:
    escaped = re.escape(path)
    escaped = re.sub(r"\\{(\w+)\\\*\\}", r"(?P<\1>.+)", escaped)
    escaped = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>[^/]+(?:/[^/]+)?)", escaped)
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", escaped)
