"""Which networks a container is on, changed after its creation."""

from dataclasses import replace

from sharedrt.model.faults import AlreadyExists, Ambiguous, FailedPrecondition, NotFound
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord, NetworkRecord, NetworkRequest
from sharedrt.model.spec import NamespaceMode
from sharedrt.services.containers.life import ContainerLife
from sharedrt.services.containers.rows import ContainerRows
from sharedrt.services.containers.wiring import Wirer
from sharedrt.services.networks import Networks
from sharedrt.services.working_set import WorkingSet


class NetworkMembership:
    """Joins and leaves. The record says what the container is to be on at its next start; its endpoints say what
    it is on now. The endpoint goes first, so that a refusal leaves the record alone; a daemon killed between
    the two leaves a membership that ends with the container's run."""

    def __init__(
        self,
        records: WorkingSet[ContainerRecord],
        life: ContainerLife,
        rows: ContainerRows,
        networks: Networks,
        wirer: Wirer,
    ) -> None:
        self._records = records
        self._life = life
        self._rows = rows
        self._networks = networks
        self._wirer = wirer

    async def connect(self, id: ContainerId, request: NetworkRequest) -> None:
        """See :meth:`sharedrt.services.contracts.Containers.connect_network`."""
        async with self._life.locks.hold(id):
            record = self._records.by_id(id)
            network = self._networks.get(request.network)
            _check_private(record)
            if network.driver in ("host", "none"):
                raise FailedPrecondition("network", network.name, "cannot be joined")
            if self._asked(record, network) is not None:
                raise AlreadyExists("endpoint", network.name, id)
            if self._life.is_running(id):
                await self._wirer.connect(record, request)
            await self._put(id, (*record.networks, request))
            await self._leave_if_ended(id)

    async def disconnect(self, id: ContainerId, ref: str) -> None:
        """See :meth:`sharedrt.services.contracts.Containers.disconnect_network`."""
        async with self._life.locks.hold(id):
            record = self._records.by_id(id)
            network = self._networks.get(ref)
            asked = self._asked(record, network)
            endpoint = next(
                (e for e in self._networks.endpoints_of(id) if e.network_id == network.id), None
            )
            if asked is None and endpoint is None:
                raise FailedPrecondition(
                    "container", id, f"is not connected to network {network.name}"
                )
            if endpoint is not None:
                await self._wirer.disconnect(record, endpoint)
            await self._put(id, tuple(r for r in record.networks if r is not asked))
            await self._leave_if_ended(id)

    async def _put(self, id: ContainerId, requests: tuple[NetworkRequest, ...]) -> None:
        await self._rows.change(id, lambda record: replace(record, networks=requests))

    async def _leave_if_ended(self, id: ContainerId) -> None:
        """Its end does not wait for our lock: what was joined after its clean-up is left again here."""
        if not self._life.is_running(id):
            await self._networks.release_owner(id)

    def _asked(self, record: ContainerRecord, network: NetworkRecord) -> NetworkRequest | None:
        for request in record.networks:
            if request.network in (network.id, network.name):
                return request
            try:
                if self._networks.get(request.network).id == network.id:
                    return request
            except (NotFound, Ambiguous):
                continue  # a network that is gone: the container's next start will say so
        return None


def _check_private(record: ContainerRecord) -> None:
    mode = record.spec.namespaces.network.mode
    if record.sandbox_id is not None or mode is not NamespaceMode.PRIVATE:
        raise FailedPrecondition("container", record.id, "has no network namespace of its own")
