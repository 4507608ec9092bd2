"""Looking networks up by name or id."""

from collections.abc import Callable

from sharedrt.edges.docker.render_network_settings import NetworkNames
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.faults import Ambiguous, NotFound
from sharedrt.model.records import NetworkRecord
from sharedrt.services.contracts import NamespacedRuntime


def network_names(runtime: NamespacedRuntime) -> NetworkNames:
    """A look-up that answers ``None`` instead of raising."""

    def find(reference: str) -> NetworkRecord | None:
        try:
            return runtime.networks.get(reference)
        except (NotFound, Ambiguous):
            return None

    return find


def network_id(runtime: NamespacedRuntime) -> Callable[[str], str]:
    """A network's id by its name or id; what is no network's stays as it is."""
    find = network_names(runtime)

    def id_of(reference: str) -> str:
        record = find(reference)
        return record.id if record else reference

    return id_of


def bridge_gateway(runtime: NamespacedRuntime) -> str:
    """The host's address as containers on ``bridge`` see it. Raises Refusal."""
    network = runtime.networks.get("bridge")
    if not network.gateways:
        raise bad_request("unable to derive the IP value for host-gateway")
    return network.gateways[0].partition("/")[0]
