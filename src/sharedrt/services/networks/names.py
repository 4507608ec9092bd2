"""Who is called what, for whom: the answers of user-defined networks' name servers.

A container is told the names of the networks that it is on, wherever it asks, and nobody else is told anything: who
asks is known by the address, which no other endpoint of the network has. On each network a container goes by its
name, its host name, its short id and the aliases that it was given there; for one container alone, also by that
one's links.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from sharedrt.model.drivers import NameAnswer, NameQuestion, NameVerdict
from sharedrt.model.ids import NetworkId
from sharedrt.model.records import EndpointRecord, NetworkRecord
from sharedrt.services.networks.bridges import has_names
from sharedrt.services.networks.endpoints import Endpoints
from sharedrt.wire.dns import reverse_address


@dataclass(frozen=True, slots=True)
class OwnerNames:
    """What names need to know of a container. ``servers``: resolvers of its own choice, instead of the host's."""

    id: str
    name: str
    hostname: str = ""
    servers: tuple[str, ...] = ()


@dataclass(slots=True)
class _Index:
    """Of one generation of the endpoints."""

    generation: int = -1
    by_address: dict[tuple[NetworkId, str], EndpointRecord] = field(default_factory=dict)
    by_name: dict[tuple[NetworkId, str], list[EndpointRecord]] = field(default_factory=dict)


class Names:
    """Answers for one namespace.

    Args:
        describe: a container by id or name; ``None`` when there is none.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        find_network: Callable[[NetworkId], NetworkRecord | None],
        describe: Callable[[str], OwnerNames | None],
    ) -> None:
        self._endpoints = endpoints
        self._find_network = find_network
        self._describe = describe
        self._index = _Index()

    def answer(self, network: NetworkId, source: str, question: NameQuestion) -> NameAnswer:
        """For whoever asks from ``source`` at the gateway of ``network``. Never waits."""
        asker = self._indexed().by_address.get((network, str(ip_address(source))))
        return self._answer(asker, question)

    def answer_owner(self, owner: str, source: str, question: NameQuestion) -> NameAnswer:
        """For a container that asks inside its own network namespace."""
        asker = next(iter(self._endpoints.of_owner(owner)), None)
        return self._answer(asker, question)

    def _answer(self, asker: EndpointRecord | None, question: NameQuestion) -> NameAnswer:
        if asker is None:
            return NameAnswer(NameVerdict.REFUSED)
        places = list(self._places(asker))
        if address := reverse_address(question.name):
            return self._reverse(address, places) or self._forward(asker, question)
        found = self._find(question.name, places)
        if not found:
            return self._forward(asker, question)
        addresses = tuple(a for endpoint in found for a in _bare(endpoint))
        # A name of ours without an address of the asked family, or asked for another type: it exists all the same.
        return NameAnswer(NameVerdict.ANSWERED, addresses=tuple(dict.fromkeys(addresses)))

    def _places(self, asker: EndpointRecord) -> Iterator[tuple[EndpointRecord, NetworkRecord]]:
        """The asker's endpoints on networks with names."""
        for endpoint in self._endpoints.of_owner(asker.owner):
            network = self._find_network(endpoint.network_id)
            if network is not None and has_names(network):
                yield endpoint, network

    def _find(
        self, name: str, places: Sequence[tuple[EndpointRecord, NetworkRecord]]
    ) -> Sequence[EndpointRecord]:
        index = self._indexed()
        for endpoint, network in places:
            for link in endpoint.links:
                target, _, alias = link.partition(":")
                if alias.lower() == name and (owner := self._describe(target)) is not None:
                    linked = self._endpoints.of_owner(owner.id)
                    if found := [e for e in linked if e.network_id == network.id]:
                        return found
            if found := index.by_name.get((network.id, name), []):
                return found
            # ``web.front``: the container web on the network front.
            head, dot, tail = name.partition("." + network.name.lower())
            if dot and not tail and (found := index.by_name.get((network.id, head), [])):
                return found
        return ()

    def _reverse(
        self, address: str, places: Sequence[tuple[EndpointRecord, NetworkRecord]]
    ) -> NameAnswer | None:
        for _, network in places:
            endpoint = self._indexed().by_address.get((network.id, address))
            if endpoint is not None and (owner := self._describe(endpoint.owner)) is not None:
                return NameAnswer(NameVerdict.ANSWERED, names=(f"{owner.name}.{network.name}",))
        parsed = ip_address(address)
        if any(parsed in ip_network(subnet) for _, network in places for subnet in network.subnets):
            return NameAnswer(NameVerdict.UNKNOWN)  # nobody else can know better
        return None

    def _forward(self, asker: EndpointRecord, question: NameQuestion) -> NameAnswer:
        networks = [self._find_network(e.network_id) for e in self._endpoints.of_owner(asker.owner)]
        if all(network is None or network.internal for network in networks):
            # Questions would carry data out of a network that has no way out.
            return NameAnswer(NameVerdict.UNKNOWN)
        owner = self._describe(asker.owner)
        # Without a resolver, a bare name is no name of the world's: said so, clients give up at once, while a
        # failure makes some ask again for seconds.
        bare = "." not in question.name
        return NameAnswer(
            NameVerdict.FORWARD,
            servers=owner.servers if owner else (),
            otherwise=NameVerdict.UNKNOWN if bare else NameVerdict.FAILED,
        )

    def _indexed(self) -> _Index:
        if self._index.generation != self._endpoints.generation:
            index = _Index(self._endpoints.generation)
            for endpoint in self._endpoints.all():
                for address in _bare(endpoint):
                    index.by_address[endpoint.network_id, address] = endpoint
                for name in self._names_of(endpoint):
                    index.by_name.setdefault((endpoint.network_id, name), []).append(endpoint)
            self._index = index
        return self._index

    def _names_of(self, endpoint: EndpointRecord) -> Iterator[str]:
        owner = self._describe(endpoint.owner)
        names = [*endpoint.aliases, endpoint.owner[:12]]
        if owner is not None:
            names += (owner.name, owner.hostname)
        yield from dict.fromkeys(name.lower() for name in names if name)


def _bare(endpoint: EndpointRecord) -> Iterator[str]:
    for cidr in endpoint.addresses:
        yield str(ip_address(cidr.partition("/")[0]))
