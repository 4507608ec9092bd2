"""macvlan and ipvlan networks: their options, in dockerd's words, and the link of the host that they sit on.

``parent`` names the link; ``BASE.VLAN`` is made when it is not there. Without one, the network leads nowhere.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sharedrt.model.drivers import ParentConfig
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, Unimplemented
from sharedrt.model.records import NetworkRecord

STACKED: Final = ("macvlan", "ipvlan")
_PARENT: Final = "parent"
_MTU: Final = "com.docker.network.driver.mtu"
_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "macvlan": ("bridge", "private", "vepa", "passthru"),
    "ipvlan": ("l2", "l3", "l3s"),
}
"""The first is the default."""
_FLAG: Final = "ipvlan_flag"
_FLAGS: Final = ("bridge", "private", "vepa")
_PRIVATE_PREFIX: Final = "dm-"
_NAME_MAX: Final = 15
_VLAN_MAX: Final = 4094


def check_stacked(driver: str, options: Mapping[str, str]) -> None:
    """Raises InvalidArgument, or Unimplemented, by the option's name."""
    known = {_PARENT, f"{driver}_mode", _MTU} | ({_FLAG} if driver == "ipvlan" else set())
    for option in options:
        if option not in known:
            raise Unimplemented(f"{driver} network option {option!r}")
    for option, words in ((f"{driver}_mode", _MODES[driver]), (_FLAG, _FLAGS)):
        if (value := options.get(option)) and value not in words:
            raise InvalidArgument(f"option {option}", value, f"not one of {', '.join(words)}")
    parent = options.get(_PARENT, "")
    if parent == "lo":
        raise InvalidArgument(
            "option parent", parent, f"loopback interface is not a valid {driver} parent link"
        )
    if len(parent) > _NAME_MAX or re.search(r"[\s/:]", parent):
        raise InvalidArgument("option parent", parent, "not usable as an interface's name")


def parent_name(id: str, options: Mapping[str, str]) -> str:
    return options.get(_PARENT) or f"{_PRIVATE_PREFIX}{id[:12]}"


def parent_config(record: NetworkRecord) -> ParentConfig:
    """The link below a network."""
    if not record.options.get(_PARENT):
        return ParentConfig(record.bridge, record.driver, private=True)
    base, dot, number = record.bridge.rpartition(".")
    if dot and base and number.isdecimal() and 0 < int(number) <= _VLAN_MAX:
        return ParentConfig(record.bridge, record.driver, base=base, vlan=int(number))
    return ParentConfig(record.bridge, record.driver)


def mode_of(record: NetworkRecord) -> str:
    return record.options.get(f"{record.driver}_mode") or _MODES[record.driver][0]


def flag_of(record: NetworkRecord) -> str:
    return record.options.get(_FLAG) or _FLAGS[0]


def leads_nowhere(driver: str, options: Mapping[str, str]) -> bool:
    """Whether nobody on such a network needs a gateway's address: it has no parent, or no neighbours."""
    mode = options.get(f"{driver}_mode") or _MODES[driver][0]
    return not options.get(_PARENT) or (driver == "ipvlan" and mode != "l2")


def is_routed(record: NetworkRecord) -> bool:
    """Whether its interfaces are routers' neighbours to nobody: no gateway, no broadcasts."""
    return record.driver == "ipvlan" and mode_of(record) != "l2"


def refuse_shared_parent(
    record: NetworkRecord, namespace: str, others: Iterable[tuple[str, NetworkRecord]]
) -> None:
    """Raises FailedPrecondition where another network, of any namespace, uses the parent in a way that excludes this
    one; only one of ``namespace`` is named."""
    for owner, other in others:
        if other.bridge != record.bridge or other.driver not in STACKED or other.id == record.id:
            continue
        if other.driver != record.driver or "passthru" in (mode_of(record), mode_of(other)):
            name = f"network {other.name}" if owner == namespace else "another network"
            raise FailedPrecondition(
                "network",
                record.name,
                f"{name} is already using parent interface {record.bridge}",
            )
