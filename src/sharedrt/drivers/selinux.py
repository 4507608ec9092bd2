"""SELinux labels of the files that a container is to use. Needs no library: a label is an extended attribute."""

import errno
import os
from pathlib import Path
from typing import Final

from sharedrt.model.faults import InvalidArgument

_ATTRIBUTE: Final = "security.selinux"
_REFUSED: Final = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/etc/passwd",
        "/etc/pki",
        "/etc/shadow",
        "/home",
        "/lib",
        "/lib64",
        "/media",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/srv",
        "/sys",
        "/tmp",
        "/usr",
        "/var",
        "/var/lib",
        "/var/log",
    ]
)
"""What a host cannot live without under another label."""
_GONE: Final = (errno.ENOENT, errno.ENOTDIR)


def relabel(path: Path, label: str, *, shared: bool) -> None:
    """Give a file, or a folder and all below it, a container's label. Follows no link. Blocking.

    A file system without labels stays as it is.

    Args:
        label: ``user:role:type:level``.
        shared: for containers of any level: ``s0``.

    Raises:
        InvalidArgument: a folder of the host itself.
    """
    if str(path) in _REFUSED:
        raise InvalidArgument("mount", str(path), "SELinux relabeling of it is not allowed")
    if shared:
        label = ":".join([*label.split(":", 3)[:3], "s0"])
    value = label.encode() + b"\0"
    try:
        os.setxattr(path, _ATTRIBUTE, value, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    # By descriptors, since whoever writes there could put a link in a folder's place at any time.
    for _, folders, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in (*folders, *files):
            try:
                os.setxattr(f"/proc/self/fd/{fd}/{name}", _ATTRIBUTE, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, *_GONE):
                    raise
