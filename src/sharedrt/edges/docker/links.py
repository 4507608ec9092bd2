"""Links of Docker's default bridge: names by which one container knows another.

A link is kept by the other's id, so that it outlives renames. It is shown as ``/other:/container/alias``, gives the
other a further name ``/container/alias``, and by that name the other can be found and the link be removed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sharedrt.edges.docker.translate_network import DEFAULT_NETWORK
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import Containers


def links_of(record: ContainerRecord) -> Iterator[tuple[str, str]]:
    """(id or name of the other, alias)."""
    for request in record.networks:
        if request.network == DEFAULT_NETWORK:
            for link in request.links:
                other, _, alias = link.partition(":")
                yield other, alias


def shown_links(record: ContainerRecord, containers: Containers) -> list[str] | None:
    """``HostConfig.Links``; what it links to may be gone."""
    shown = []
    for other, alias in links_of(record):
        try:
            shown.append(f"/{containers.get(other).name}:/{record.name}/{alias}")
        except NotFound:
            continue
    return shown or None


def linked_names(records: Iterable[ContainerRecord]) -> dict[str, list[str]]:
    """The further names of each container that others link to, by its id or name."""
    names: dict[str, list[str]] = {}
    for record in records:
        for other, alias in links_of(record):
            names.setdefault(other, []).append(f"/{record.name}/{alias}")
    return names


def find_container(containers: Containers, reference: str) -> ContainerRecord:
    """By id, name, or ``container/alias``. Raises NotFound, Ambiguous."""
    owner, slash, alias = reference.strip("/").partition("/")
    if not slash:
        return containers.get(reference.removeprefix("/") or reference)
    try:
        for other, name in links_of(containers.get(owner)):
            if name == alias:
                return containers.get(other)
    except NotFound as fault:
        raise NotFound("container", reference) from fault
    raise NotFound("container", reference)


def without_link(record: ContainerRecord, alias: str) -> ContainerRecord:
    """The record, no longer linking to what it calls ``alias``. Raises Refusal when it does not."""
    if all(name != alias for _, name in links_of(record)):
        raise Refusal(404, f"Could not get link: /{record.name}/{alias}")
    return replace(
        record,
        networks=tuple(
            replace(
                request,
                links=tuple(link for link in request.links if link.partition(":")[2] != alias),
            )
            if request.network == DEFAULT_NETWORK
            else request
            for request in record.networks
        ),
    )
