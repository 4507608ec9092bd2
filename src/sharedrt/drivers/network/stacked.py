"""macvlan and ipvlan: interfaces that sit on a link of the host's and share its wire.

Nothing of them is on the host but their parent. Parents that we made say so by their alias, ``TABLE:parent``: VLAN
subinterfaces, named ``BASE.VLAN`` as is the custom, and private links. A private link is one end of a veth pair
whose other end nobody listens at: a dummy link would do, but not every kernel has it, and one
without a carrier would carry nothing.
"""

import errno
import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from sharedrt.drivers.network.rtnetlink import Link, Rtnetlink
from sharedrt.drivers.network.worker import NetworkWorker
from sharedrt.model.drivers import EndpointConfig, ParentConfig
from sharedrt.model.faults import FailedPrecondition

DRIVERS: Final = ("macvlan", "ipvlan")
_UNKNOWN: Final = "the host's kernel has no such links"
_PEER_PREFIX: Final = "dp-"


class StackedLinks:
    """Blocking; used on the worker's thread.

    Args:
        alias: what aliases of this daemon's links begin with.
    """

    def __init__(self, worker: NetworkWorker, alias: str) -> None:
        self._worker = worker
        self._alias = alias
        self._parent_alias = alias + "parent"

    # ------------------------------------------------------------ parents

    def ensure_parent(self, config: ParentConfig) -> None:
        """See :meth:`sharedrt.model.drivers.BridgeNetwork.ensure_parent`."""
        with Rtnetlink() as netlink:
            if not netlink.knows(config.kind):
                raise FailedPrecondition("network driver", config.kind, _UNKNOWN)
            link = netlink.link(config.name)
            if link is None and config.private:
                link = self._make_private(netlink, config.name)
            elif link is None and config.vlan:
                link = self._make_vlan(netlink, config)
            if link is None:
                raise FailedPrecondition(
                    "parent interface", config.name, "was not found on the host"
                )
            if link.alias == self._parent_alias:
                netlink.set_link(link.index, up=True)

    def _make_private(self, netlink: Rtnetlink, name: str) -> Link:
        peer = _PEER_PREFIX + name.partition("-")[2]
        netlink.add_veth_pair(name, peer)
        for each, alias in ((peer, self._alias + "peer"), (name, self._parent_alias)):
            link = _made(netlink, each)
            netlink.set_link(link.index, alias=alias)
            _without_ipv6(each)
            netlink.set_link(link.index, up=True)
        return _made(netlink, name)

    def _make_vlan(self, netlink: Rtnetlink, config: ParentConfig) -> Link:
        base = netlink.link(config.base)
        if base is None:
            raise FailedPrecondition("parent interface", config.base, "was not found on the host")
        try:
            netlink.add_vlan(config.name, parent=base.index, vlan=config.vlan)
        except OSError as error:
            raise _refused("VLAN", config.name, error) from error
        link = _made(netlink, config.name)
        netlink.set_link(link.index, alias=self._parent_alias)
        return link

    def remove_parent(self, name: str) -> None:
        """If it is one of ours. Idempotent."""
        with Rtnetlink() as netlink:
            link = netlink.link(name)
            if link is not None and link.alias == self._parent_alias:
                netlink.delete_link(name)

    def parents_on_host(self) -> Sequence[str]:
        """Names of those that we made."""
        with Rtnetlink() as netlink:
            return [link.name for link in netlink.links() if link.alias == self._parent_alias]

    # ------------------------------------------------------------ interfaces of containers

    def plug(self, netlink: Rtnetlink, config: EndpointConfig, netns_fd: int) -> bool:
        """Put the interface into the network namespace; whether it was not there yet."""
        parent = netlink.link(config.bridge)
        if parent is None:
            raise FailedPrecondition("parent interface", config.bridge, "is not there")
        alias = f"{self._alias}endpoint:{config.id}"
        with self._worker.inside(netns_fd), Rtnetlink() as inner:
            found = inner.link(config.interface)
            if found is not None and found.kind == config.driver:
                if found.alias == alias:
                    return False
                inner.delete_link(found.name)  # half made
            inner.delete_link(newborn(config))  # a crash came before its name
        mtu = min(config.mtu, parent.mtu)
        try:
            if config.driver == "macvlan":
                netlink.add_macvlan(
                    newborn(config),
                    parent=parent.index,
                    netns_fd=netns_fd,
                    mode=config.mode,
                    mac=config.mac,
                    mtu=mtu,
                )
            else:
                netlink.add_ipvlan(
                    newborn(config),
                    parent=parent.index,
                    netns_fd=netns_fd,
                    mode=config.mode,
                    flag=config.flag,
                    mtu=mtu,
                )
        except OSError as error:
            raise _refused(config.driver, config.bridge, error) from error
        with self._worker.inside(netns_fd), Rtnetlink() as inner:
            inner.set_link(_made(inner, newborn(config)).index, name=config.interface, alias=alias)
        return True

    def unplug(self, config: EndpointConfig) -> None:
        """Take the interface out of its network namespace. Idempotent, also when the namespace is gone."""
        with ExitStack() as stack:
            try:
                netns_fd = os.open(config.netns, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EISDIR):
                    return
                raise
            stack.callback(os.close, netns_fd)
            stack.enter_context(self._worker.inside(netns_fd))
            inner = stack.enter_context(Rtnetlink())
            link = inner.link(config.interface)
            if link is not None and link.kind == config.driver:
                inner.delete_link(link.name)
            inner.delete_link(newborn(config))


def newborn(config: EndpointConfig) -> str:
    """Its name until it has its own: before Linux 6.13 a link's first name must be free where its parent is, too."""
    return f"dn-{hashlib.sha256(config.id.encode()).hexdigest()[:12]}"


def _made(netlink: Rtnetlink, name: str) -> Link:
    link = netlink.link(name)
    assert link is not None, "it has just been made"
    return link


def _refused(kind: str, parent: str, error: OSError) -> FailedPrecondition:
    words = error.strerror or str(error)
    if error.errno == errno.EOPNOTSUPP:
        words = _UNKNOWN
    elif error.errno == errno.EBUSY:
        words = "the parent interface is in use in another way"
    return FailedPrecondition("parent interface", parent, f"no {kind} interface: {words}")


def _without_ipv6(name: str) -> None:
    path = Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
    if path.exists():
        path.write_text("1")
