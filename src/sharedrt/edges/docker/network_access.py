"""Looking networks up by name or id."""

from sharedrt.edges.docker.render_network_settings import NetworkNames
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
