"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container that is no pod's member."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from sharedrt.model.drivers import HostFiles
from sharedrt.model.faults import FailedPrecondition, ResourceExhausted
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import NamespaceMode
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks
from sharedrt.wire.resolv_conf import hosts_file

log = structlog.get_logger(__name__)

_MAX_BYTES: Final = 1 << 20


class EtcFiles:
    """Made at a container's start, in its run folder; changed in place when it joins or leaves a network."""

    def __init__(
        self,
        layout: Layout,
        host: HostFiles,
        networks: Networks,
        find_container: Callable[[str], ContainerRecord],
    ) -> None:
        self._layout = layout
        self._host = host
        self._networks = networks
        self._find_container = find_container

    async def make(self, record: ContainerRecord) -> None:
        """Raises FailedPrecondition when a container that it links to does not run."""
        files = {name: text.encode() for name, text in self.texts(record).items()}
        if record.spec.namespaces.network.mode is NamespaceMode.HOST:
            own = "".join(f"{a}\t{n}\n" for n, a in map(_name_and_address, record.extra_hosts))
            files["hosts"] = await self._host.read(Path("/etc/hosts")) + own.encode()
        await self._host.write(self._layout.container_run(record.id), files)

    def texts(self, record: ContainerRecord) -> Mapping[str, str]:
        """The files' texts for the networks that it is on at the moment."""
        on_host = record.spec.namespaces.network.mode is NamespaceMode.HOST
        hostname = record.spec.hostname or record.id[:12]
        names = hostname if not record.spec.domainname else f"{hostname}.{record.spec.domainname}"
        addresses = [
            cidr.partition("/")[0]
            for endpoint in self._networks.endpoints_of(record.id)
            for cidr in endpoint.addresses
        ]
        extra = (*record.extra_hosts, *self._links(record))
        return {
            "hostname": f"{hostname}\n",
            "hosts": hosts_file(names, addresses, extra, ipv6=not is_ipv6_disabled(record)),
            "resolv.conf": self._networks.resolv_conf(
                record.dns,
                host_network=on_host,
                fill_from_host=True,
                resolver=self._networks.resolver_of(record.id),
            ),
        }

    def _links(self, record: ContainerRecord) -> Iterator[str]:
        """``name:address`` of each link."""
        for alias, target, address in self.linked(record):
            for name in dict.fromkeys((alias, target.name, target.id[:12])):
                yield f"{name}:{address}"

    def linked(self, record: ContainerRecord) -> Iterator[tuple[str, ContainerRecord, str]]:
        """(alias, container, address) of each link on a network without names of its own (Docker's legacy links)."""
        for endpoint in self._networks.endpoints_of(record.id):
            if self._networks.has_names(endpoint.network_id):
                continue
            for link in endpoint.links:
                target_ref, _, alias = link.partition(":")
                target = self._find_container(target_ref)
                if target.state is not ContainerState.RUNNING:
                    raise FailedPrecondition(
                        "container",
                        record.id,
                        f"Cannot link to a non running container: /{target.name} AS /{alias}",
                    )
                for other in self._networks.endpoints_of(target.id):
                    if other.network_id == endpoint.network_id:
                        for cidr in other.addresses:
                            yield alias, target, cidr.partition("/")[0]

    async def refresh(self, record: ContainerRecord, before: Mapping[str, str]) -> None:
        """Bring the files from ``before`` to what :meth:`texts` says now. Only differences go in: what the
        container itself has written stays, and a resolv.conf that it has changed is its own. So is a file that it has
        filled."""
        folder = self._layout.container_run(record.id)
        after = self.texts(record)
        old, new = before["hosts"].splitlines(), after["hosts"].splitlines()
        files: dict[str, bytes] = {}
        if (data := await self._read(folder / "hosts")) is not None:
            present = data.decode("utf-8", "surrogateescape")
            lines = [line for line in present.splitlines() if line in new or line not in old]
            lines += [line for line in new if line not in lines]
            text = "".join(f"{line}\n" for line in lines)
            files["hosts"] = text.encode("utf-8", "surrogateescape")
        if await self._read(folder / "resolv.conf") == before["resolv.conf"].encode():
            files["resolv.conf"] = after["resolv.conf"].encode()
        await self._host.write(folder, files)

    async def _read(self, path: Path) -> bytes | None:
        """``None`` when the container has made more of it than a daemon should hold."""
        try:
            return await self._host.read(path, limit_bytes=_MAX_BYTES)
        except ResourceExhausted as fault:
            log.warning(
                "a container's file is not kept up to date", path=str(path), error=str(fault)
            )
            return None


def is_ipv6_disabled(record: ContainerRecord) -> bool:
    """Whether the container's own sysctls take IPv6 from it."""
    return record.spec.sysctls.get("net.ipv6.conf.all.disable_ipv6") == "1"


def _name_and_address(entry: str) -> tuple[str, str]:
    name, _, address = entry.partition(":")
    return name, address.removeprefix("[").removesuffix("]")
