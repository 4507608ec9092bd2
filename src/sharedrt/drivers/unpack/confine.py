"""Gives up rights, for good: capabilities, network, resources. For the worker's side only."""

import contextlib
import ctypes
import errno
import os
import resource
import signal
from collections.abc import Iterable
from typing import Final

CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_SETPCAP: Final = 8
CAP_SYS_CHROOT: Final = 18
CAP_SYS_ADMIN: Final = 21
CAP_MKNOD: Final = 27
CAP_SETFCAP: Final = 31

APPLY_CAPABILITIES: Final = frozenset(
    (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP)
)
"""To write a layer. Not SYS_ADMIN: ``trusted.*`` attributes are set by the daemon, which gets a descriptor."""
DIFF_CAPABILITIES: Final = frozenset((CAP_DAC_OVERRIDE, CAP_SYS_ADMIN))
"""To read an upper folder; the kernel shows ``trusted.*`` attributes to SYS_ADMIN alone."""
HELPER_CAPABILITIES: Final = APPLY_CAPABILITIES | DIFF_CAPABILITIES | {CAP_SETPCAP, CAP_SYS_CHROOT}

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWIPC: Final = 0x08000000
_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def drop_network() -> None:
    """Move to empty network and IPC namespaces. Raises OSError."""
    _check(_libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent process ends; at once when it already has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def keep_capabilities(keep: Iterable[int]) -> None:
    """Keep of the capabilities no others than these, in every set. Needs SETPCAP. Raises OSError."""
    wanted = sum(1 << number for number in keep)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    with contextlib.suppress(_PastLastCapability):
        while True:
            if not wanted >> number & 1:
                _drop_bounding(number)
            number += 1
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, sets))
    # Layout: effective, permitted, inheritable of capabilities 0-31, then of 32-63.
    for word in (0, 1):
        mask = wanted >> (32 * word) & 0xFFFFFFFF
        permitted = sets[3 * word + 1] & mask
        sets[3 * word : 3 * word + 3] = [permitted, permitted, 0]
    _check(_libc.capset(header, sets))


def limit_resources(*, memory_bytes: int, open_files: int) -> None:
    """Bound address space and descriptors; no core dumps; the first to go when memory runs out."""
    for kind, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(kind, (bound, bound))
    with open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) < 500:
            file.seek(0)
            file.write("500")


def enter_root(descriptor: int) -> None:
    """chroot into an open folder."""
    os.fchdir(descriptor)
    os.chroot(".")
    os.chdir("/")
    os.close(descriptor)


class _PastLastCapability(Exception):
    pass


def _drop_bounding(number: int) -> None:
    try:
        _prctl(_PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _PastLastCapability from error
        raise


def _prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
