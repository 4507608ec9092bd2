"""Linux capabilities: the default set, a client's changes to it, and what the daemon itself may hand on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import Capabilities

# linux/capability.h, in the order of their numbers
_BY_NUMBER: Final = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_DEFAULT: Final = """
CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE
SETFCAP
"""
ALL: Final = tuple(f"CAP_{name}" for name in _BY_NUMBER.split())
"""Every capability, in the order of their numbers."""

DEFAULT: Final = tuple(f"CAP_{name}" for name in _DEFAULT.split())
"""What Docker and containerd give to a container that asks for nothing."""


def parse_mask(hexadecimal: str) -> frozenset[str]:
    """A mask of ``/proc/PID/status`` as names; bits that have no name here are left out."""
    mask = int(hexadecimal, 16)
    return frozenset(name for number, name in enumerate(ALL) if mask >> number & 1)


def own_bounding_set(status: Path = Path("/proc/self/status")) -> frozenset[str]:
    """The daemon's bounding set: no child of ours can have more."""
    for line in status.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "CapBnd":
            return parse_mask(value.strip())
    return frozenset(ALL)


def granted(
    changes: Capabilities, *, privileged: bool, bounding: frozenset[str]
) -> tuple[str, ...]:
    """The capabilities of a container, in the order of their numbers, never beyond ``bounding``.

    ``ALL`` added wins over ``ALL`` dropped; a name dropped wins over the same name added.

    Raises:
        InvalidArgument: an unknown name.
    """
    add, drop = _names(changes.add), _names(changes.drop)
    if privileged or "ALL" in add:
        have = set(ALL)
    elif "ALL" in drop:
        have = set()
    else:
        have = set(DEFAULT)
    have |= add
    if not privileged:
        have -= drop
    return tuple(name for name in ALL if name in have and name in bounding)


def ambient(changes: Capabilities, have: Iterable[str]) -> tuple[str, ...]:
    """The ambient ones among those the container has. Raises InvalidArgument."""
    wanted = _names(changes.ambient)
    return tuple(name for name in have if name in wanted or "ALL" in wanted)


def _names(given: Iterable[str]) -> set[str]:
    found = set()
    for text in given:
        name = text.upper()
        if name in ("ALL", "CAP_ALL"):
            found.add("ALL")
            continue
        if not name.startswith("CAP_"):
            name = f"CAP_{name}"
        if name not in ALL:
            raise InvalidArgument("capability", text, "unknown")
        found.add(name)
    return found


def process_capabilities(
    have: tuple[str, ...], ambient: tuple[str, ...], uid: int
) -> dict[str, list[str]]:
    """OCI's ``process.capabilities``: what execve(2) would leave to that user.

    Nothing is inheritable but the ambient ones (CVE-2022-24769); a user other than root starts with those alone.
    """
    effective = have if uid == 0 else ambient
    return {
        "bounding": list(have),
        "effective": list(effective),
        "permitted": list(effective),
        "inheritable": list(ambient),
        "ambient": list(ambient),
    }
