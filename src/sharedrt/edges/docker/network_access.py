"""Looking networks up by name or id."""

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


def bridge_gateway(runtime: NamespacedRuntime) -> str:
    """The host's address as containers on ``bridge`` see it. Raises Refusal."""
    network = runtime.networks.get("bridge")
    if not network.gateways:
        raise bad_request("unable to derive the IP value for host-gateway")
    return network.gateways[0].partition("/")[0]
