"""Which containers a list wants: all filters of ``GET /containers/json``."""

from typing import Final

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.image_access import ancestors
from sharedrt.edges.docker.network_access import network_names
from sharedrt.edges.docker.render_network_settings import render_port_list
from sharedrt.edges.docker.translate_network import parse_port
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerState
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.go_numbers import NumberError, parse_int

FILTERS_TEXT = (
    "ancestor before exited expose health id is-task isolation label name network publish "
    "since status volume"
)
FILTERS: Final = tuple(FILTERS_TEXT.split())
_STATUSES: Final = frozenset(
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"]
)
_HEALTH: Final = frozenset(["none", "starting", "healthy", "unhealthy"])


class ContainerFilter:
    """A list's selection.

    Args:
        everything: also those that do not run.

    Raises:
        Refusal: a filter's value makes no sense; ``before`` and ``since`` name an unknown container (NotFound).
    """

    def __init__(self, call: Call, filters: Filters, *, everything: bool) -> None:
        self._filters = filters
        self._everything = everything or "status" in filters
        self._call = call
        for status in filters.get("status"):
            if status not in _STATUSES:
                raise bad_request(f"invalid filter 'status={status}'")
        for health in filters.get("health"):
            if health not in _HEALTH:
                raise bad_request(f"invalid filter 'health={health}'")
        try:
            self._exited = {parse_int(code) for code in filters.get("exited")}
        except NumberError as error:
            raise bad_request(f"invalid filter 'exited': {error}") from error
        try:
            self._is_task = filters.boolean("is-task")
        except FilterError as error:
            raise bad_request(str(error)) from error
        self._before = self._created(filters, "before")
        self._since = self._created(filters, "since")
        self._published = _ports(filters, "publish")
        self._exposed = _ports(filters, "expose")
        self._ancestors = (
            ancestors(call.runtime, filters.get("ancestor")) if "ancestor" in filters else None
        )
        self._networks = self._network_ids(filters)

    def passes(self, view: ContainerView) -> bool:
        return (
            self._passes_state(view) and self._passes_identity(view) and self._passes_wiring(view)
        )

    def _passes_state(self, view: ContainerView) -> bool:
        filters, record = self._filters, view.record
        ended = record.state is ContainerState.EXITED and view.has_run
        exited = ended and record.exit_code in self._exited
        return (
            (self._everything or view.running or bool(self._exited))
            and filters.exact("status", view.status)
            and (not self._exited or exited)
            and filters.exact("health", view.health)
            and not self._is_task
        )

    def _passes_identity(self, view: ContainerView) -> bool:
        filters, record = self._filters, view.record
        ids = filters.get("id")
        before, since = self._before, self._since
        return (
            (not ids or any(record.id.startswith(id) for id in ids))
            and (filters.matches("name", record.name) or filters.matches("name", f"/{record.name}"))
            and filters.labels(record.labels)
            and (before is None or record.created_ns < before)
            and (since is None or record.created_ns > since)
            and (self._ancestors is None or record.image_id in self._ancestors)
        )

    def _passes_wiring(self, view: ContainerView) -> bool:
        filters, record = self._filters, view.record
        mounts = {name for m in record.spec.mounts for name in (m.source, m.target)}
        volumes = filters.get("volume")
        if volumes and not volumes & mounts:
            return False
        if self._networks is not None and not self._networks & self._networks_of(view):
            return False
        return not (self._published or self._exposed) or self._passes_ports(view)

    def _passes_ports(self, view: ContainerView) -> bool:
        """As at dockerd: ``publish`` is about ports of the host, one fit of either filter is enough, and a container
        that does not run has no ports."""
        endpoints = self._call.runtime.containers.endpoints(view.record.id)
        return any(
            (port["Type"], port.get("PublicPort", 0)) in self._published
            or (port["Type"], port["PrivatePort"]) in self._exposed
            for port in render_port_list(view, endpoints)
        )

    def _networks_of(self, view: ContainerView) -> set[str]:
        names = network_names(self._call.runtime)
        asked = [request.network for request in view.record.networks] or [view.network_mode]
        endpoints = self._call.runtime.containers.endpoints(view.record.id)
        joined = [*asked, *(endpoint.network_id for endpoint in endpoints)]
        return {network.id for name in joined if (network := names(name)) is not None}

    def _network_ids(self, filters: Filters) -> set[str] | None:
        if "network" not in filters:
            return None
        names = network_names(self._call.runtime)
        return {n.id for name in filters.get("network") if (n := names(name)) is not None}

    def _created(self, filters: Filters, name: str) -> int | None:
        values = filters.get(name)
        if not values:
            return None
        found = []
        for reference in values:
            try:
                found.append(self._call.runtime.containers.get(reference).created_ns)
            except NotFound:
                raise NotFound("container", reference) from None
        return min(found) if name == "before" else max(found)


class _Ports:
    """Ranges, kept as such: a request may have thousands."""

    def __init__(self) -> None:
        self._ranges: dict[str, set[tuple[int, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, protocol: str, low: int, high: int) -> None:
        self._ranges.setdefault(protocol, set()).add((low, high))

    def __contains__(self, port: tuple[str, int]) -> bool:
        return any(low <= port[1] <= high for low, high in self._ranges.get(port[0], ()))


def _ports(filters: Filters, name: str) -> _Ports:
    """``80``, ``80/udp`` and ranges ``8000-8010/tcp``."""
    ports = _Ports()
    for text in filters.get(name):
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        low, _ = parse_port(f"{first}/{protocol or 'tcp'}")
        high, protocol = parse_port(f"{last or first}/{protocol or 'tcp'}")
        if low > high:
            raise bad_request(f"invalid range in filter '{name}': {text}")
        ports.add(protocol, low, high)
    return ports
