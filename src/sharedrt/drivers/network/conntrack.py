"""Forgetting tracked UDP flows of a published port (ctnetlink).

A flow keeps the destination that NAT gave its first packet. TCP ends and begins anew; a UDP client that goes on
sending, from one port to one port, would for ever reach the container that was there before, or nobody.
"""

import errno
import socket
import struct
from typing import Final

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
_F_PROTO_DST_PORT: Final = 1 << 5


def forget_udp_flows(port: int) -> int:
    """Delete the flows to that port, in the network namespace of the calling thread; how many there were.

    Raises:
        OSError: the kernel refused.
    """
    deleted = 0
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            header = _NFGENMSG.pack(family, 0, 0)
            # Kernels since 5.8 filter for us; an older one sends all, hence the second look.
            proto = nested(
                _CTA_TUPLE_PROTO,
                attribute_u8(_CTA_PROTO_NUM, socket.IPPROTO_UDP),
                attribute(_CTA_PROTO_DST_PORT, struct.pack("!H", port)),
            )
            wanted = nested(_CTA_TUPLE_ORIG, proto) + nested(
                _CTA_FILTER, attribute_u32(_CTA_FILTER_ORIG_FLAGS, _F_PROTO_NUM | _F_PROTO_DST_PORT)
            )
            for flow in netlink.request(_CT_GET, header + wanted, F_DUMP):
                values = dict(attributes(flow[_NFGENMSG.size :]))
                if flow[0] != family or not _is_to(values[_CTA_TUPLE_ORIG], port):
                    continue
                body = header + nested(_CTA_TUPLE_ORIG, values[_CTA_TUPLE_ORIG])
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


def _is_to(tuple_: bytes, port: int) -> bool:
    proto = dict(attributes(dict(attributes(tuple_)).get(_CTA_TUPLE_PROTO, b"")))
    return proto.get(_CTA_PROTO_NUM) == bytes((socket.IPPROTO_UDP,)) and proto.get(
        _CTA_PROTO_DST_PORT
    ) == struct.pack("!H", port)
