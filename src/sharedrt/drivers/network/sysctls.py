"""Which sysctls a pod or container may set: those that belong to a Linux namespace of its own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from sharedrt.model.faults import InvalidArgument

_IPC_NAMES: Final = frozenset(
    "kernel." + name
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "msg_next_id",
        "sem",
        "sem_next_id",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_next_id",
        "shm_rmid_forced",
    )
)
_IPC_PREFIX: Final = "fs.mqueue."
_NET_PREFIX: Final = "net."
_UTS_NAMES: Final = frozenset({"kernel.domainname"})


def check_sysctls(sysctls: Mapping[str, str], kinds: Iterable[str]) -> Mapping[Path, str]:
    """Files below /proc/sys and what to write there, for new namespaces of ``kinds`` (net ipc uts).

    Names are written with dots or, when an interface's name has dots itself, with slashes
    (sysctl(8)): ``net.ipv4.ip_forward``, ``net/ipv4/conf/eth0.1/forwarding``.

    Raises:
        InvalidArgument: a sysctl of the whole host, or of a namespace that is not in ``kinds``.
    """
    return {_file(name, frozenset(kinds)): value for name, value in sysctls.items()}


def is_ipc_sysctl(path: Path) -> bool:
    """Whether a file below /proc/sys belongs to the IPC namespace."""
    name = ".".join(path.parts[3:])
    return name in _IPC_NAMES or name.startswith(_IPC_PREFIX)


def _file(name: str, kinds: frozenset[str]) -> Path:
    slashes = "/" in name and ("." not in name or name.index("/") < name.index("."))
    parts = name.split("/" if slashes else ".")
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise InvalidArgument("sysctl", name, "not a sysctl's name")
    dotted = ".".join(parts)
    if dotted.startswith(_NET_PREFIX):
        kind = "net"
    elif dotted in _IPC_NAMES or dotted.startswith(_IPC_PREFIX):
        kind = "ipc"
    elif dotted in _UTS_NAMES:
        kind = "uts"
    elif dotted == "kernel.hostname":
        raise InvalidArgument("sysctl", name, "the host name is set by the hostname field")
    else:
        raise InvalidArgument(
            "sysctl", name, "it is not namespaced: it would change the whole host"
        )
    if kind not in kinds:
        raise InvalidArgument("sysctl", name, f"the {kind} namespace is shared with the host")
    return Path("/proc/sys", *parts)
