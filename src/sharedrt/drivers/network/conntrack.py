"""Forgetting tracked UDP flows of a published port (ctnetlink).

A flow keeps the destination that NAT gave its first packet. TCP ends and begins anew; a UDP client that goes on
sending, from one port to one port, would for ever reach the container that was there before, or nobody.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers.network.netlink import (
    F_DUMP,
    NETLINK_NETFILTER,
    NetlinkSocket,
    attribute,
    attribute_u8,
    attribute_u32,
    attributes,
    nested,
)
from sharedrt.drivers.network.worker import NetworkWorker
from sharedrt.model.faults import Internal

log = structlog.get_logger(__name__)

_CT_GET: Final = (1 << 8) | 1
_CT_DELETE: Final = (1 << 8) | 2
_NFGENMSG: Final = struct.Struct("=BBH")
"""family, version, resource"""

_CTA_TUPLE_ORIG: Final = 1
_CTA_ID: Final = 12
_CTA_FILTER: Final = 25
_CTA_FILTER_ORIG_FLAGS: Final = 1
_CTA_TUPLE_PROTO: Final = 2
_CTA_PROTO_NUM: Final = 1
_CTA_PROTO_DST_PORT: Final = 3
_F_PROTO_NUM: Final = 1 << 3


_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_GATHER_S: Final = 0.1
"""How long changes are gathered: a hundred containers that start at once cost a few walks."""


class FlowPort(NamedTuple):
    """A published UDP port, and the IP version."""

    version: int
    port: int


class UdpFlows:
    """Forgets in the background, on a thread of its own, for several changes at a time."""

    def __init__(self, netns: Path | None) -> None:
        self._worker = NetworkWorker(netns)
        self._tasks = TaskOwner("udp flows")
        self._ports: set[FlowPort] = set()
        self._busy = False

    def forget(self, ports: Collection[FlowPort]) -> None:
        """The flows to these ports, soon. Nobody needs to wait for it."""
        self._ports.update(ports)
        if self._ports and not self._busy:
            self._busy = True
            self._tasks.spawn(self._run(), "forget")

    async def _run(self) -> None:
        try:
            while self._ports:
                await asyncio.sleep(_GATHER_S)
                ports, self._ports = self._ports, set()
                try:
                    await self._worker.run(forget_udp_flows, ports)
                except Internal as error:
                    log.warning("cannot forget flows", ports=sorted(ports), reason=str(error))
        finally:
            self._busy = False

    async def aclose(self) -> None:
        await self._tasks.aclose()
        await self._worker.aclose()


def forget_udp_flows(ports: Collection[FlowPort]) -> int:
    """Delete the flows to these ports, in the network namespace of the calling thread; how many there were.

    Costs some 10 ms for each family, since the kernel walks its whole table, however few flows are in it.

    Raises:
        OSError: the kernel refused.
    """
    # Kernels since 5.8 filter for us; an older one sends all, hence the second look below.
    proto = nested(_CTA_TUPLE_PROTO, attribute_u8(_CTA_PROTO_NUM, socket.IPPROTO_UDP))
    wanted = nested(_CTA_TUPLE_ORIG, proto) + nested(
        _CTA_FILTER, attribute_u32(_CTA_FILTER_ORIG_FLAGS, _F_PROTO_NUM)
    )
    deleted = 0
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        flows = [
            flow
            for family in sorted({_FAMILIES[port.version] for port in ports})
            for flow in netlink.request(_CT_GET, _NFGENMSG.pack(family, 0, 0) + wanted, F_DUMP)
        ]
        for flow in flows:
            values = dict(attributes(flow[_NFGENMSG.size :]))
            version = 4 if flow[0] == socket.AF_INET else 6
            if FlowPort(version, _udp_port(values[_CTA_TUPLE_ORIG])) not in ports:
                continue
            body = _NFGENMSG.pack(flow[0], 0, 0)
            body += nested(_CTA_TUPLE_ORIG, values[_CTA_TUPLE_ORIG])
            if _CTA_ID in values:
                body += attribute(_CTA_ID, values[_CTA_ID])
            try:
                netlink.request(_CT_DELETE, body)
            except OSError as error:
                if error.errno != errno.ENOENT:  # it ended by itself
                    raise
            else:
                deleted += 1
    return deleted


def _udp_port(tuple_: bytes) -> int:
    """Destination port; 0 for another protocol."""
    proto = dict(attributes(dict(attributes(tuple_)).get(_CTA_TUPLE_PROTO, b"")))
    if proto.get(_CTA_PROTO_NUM) != bytes((socket.IPPROTO_UDP,)):
        return 0
    return int.from_bytes(proto.get(_CTA_PROTO_DST_PORT, b""), "big")
