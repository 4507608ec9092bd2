"""Hearing of it when somebody changes the host's nftables rules: the kernel's own notifications (group
``NFNLGRP_NFTABLES`` of nfnetlink). Each names the table; what was changed is for the reader to look up.

Elements that come and go are no news here, ours do with each container; a rule, set, chain or table that goes is.
Changes by iptables-legacy are not told of.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from sharedrt.drivers.network.netlink import NETLINK_NETFILTER, attributes, messages

_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_GROUP_NFTABLES: Final = 7
_NFTABLES: Final = 10 << 8
"""Subsystem, the upper byte of a message's type."""
_NEWCHAIN, _DELTABLE, _DELCHAIN, _NEWRULE, _DELRULE, _DELSET = 3, 2, 5, 6, 8, 11
_TABLE: Final = 1
"""The attribute with the table's name, the same in all of these messages."""
_NFGENMSG: Final = struct.Struct("=BBH")
_RECEIVE_BYTES: Final = 1 << 16
_FILTER: Final = "filter"
"""iptables' table with its FORWARD chain."""


class RulesetWatch:
    """Calls ``changed`` when rules of ``table`` (or of iptables' filter tables) may have been changed.

    Opened in the network namespace of the calling thread; read on the loop that :meth:`start` is called on.
    """

    def __init__(self, table: str, changed: Callable[[], None]) -> None:
        self._table = table
        self._changed = changed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            NETLINK_NETFILTER,
        )
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        except OSError:
            self._socket.close()
            raise

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._changed()  # ENOBUFS: more than the socket could hold
            return
        if any(self._concerns_us(kind, table) for kind, table in parse_notifications(data)):
            self._changed()

    def _concerns_us(self, kind: int, table: str) -> bool:
        if table == self._table:
            return kind in (_DELTABLE, _DELCHAIN, _NEWRULE, _DELRULE, _DELSET)
        return table == _FILTER and kind in (_DELTABLE, _NEWCHAIN, _DELCHAIN, _DELRULE)


def parse_notifications(data: bytes) -> Iterator[tuple[int, str]]:
    """(kind, table's name) of each nftables message in a datagram."""
    for kind, _flags, _sequence, body in messages(data):
        if kind & 0xFF00 == _NFTABLES:
            values = dict(attributes(body[_NFGENMSG.size :]))
            yield kind & 0xFF, values.get(_TABLE, b"").rstrip(b"\0").decode(errors="replace")
