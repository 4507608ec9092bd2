"""All routes of the Engine API, by noun."""

from typing import Final

from sharedrt.edges.docker import (
    absent,
    archive,
    build,
    build_cache,
    commit,
    container_lists,
    container_streams,
    containers,
    events,
    exec,
    image_lists,
    image_pull,
    image_push,
    image_search,
    image_transfer,
    networks,
    stats,
    system,
    top,
    volumes,
)
from sharedrt.edges.docker.router import Route

ROUTES: Final[tuple[Route, ...]] = (
    *system.ROUTES,
    *events.ROUTES,
    *containers.ROUTES,
    *container_lists.ROUTES,
    *container_streams.ROUTES,
    *stats.ROUTES,
    *top.ROUTES,
    *exec.ROUTES,
    *archive.ROUTES,
    *commit.ROUTES,
    *build.ROUTES,
    *build_cache.ROUTES,
    *absent.ROUTES,
    *image_lists.ROUTES,
    *image_pull.ROUTES,
    *image_push.ROUTES,
    *image_search.ROUTES,
    *image_transfer.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
)
