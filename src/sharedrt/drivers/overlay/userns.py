"""User namespaces that only stand for a mapping of ids, for idmapped mounts."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

Mappings = tuple[tuple[int, int, int], ...]
"""(container id, host id, count) each."""

_PROGRAM: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000):
    sys.exit(os.strerror(ctypes.get_errno()))
sys.stdout.write("ready")
sys.stdout.flush()
sys.stdin.read()
"""


def open_user_namespace(uids: Mappings, gids: Mappings) -> int:
    """A descriptor that holds a user namespace with these mappings. Blocking; for threads.

    A process of many threads cannot unshare its user namespace, so a small one does, and ends.

    Raises OSError.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.read(5) != b"ready":
            raise OSError(f"cannot make a user namespace: {process.stderr.read().decode().strip()}")
        folder = f"/proc/{process.pid}"
        _write_map(f"{folder}/gid_map", gids)
        _write_map(f"{folder}/uid_map", uids)
        return os.open(f"{folder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def host_id(mappings: Sequence[tuple[int, int, int]], container_id: int) -> int:
    """Where a mapping puts an id; the id itself where it puts it nowhere."""
    for container, host, count in mappings:
        if container <= container_id < container + count:
            return host + container_id - container
    return container_id


def _write_map(path: str, mappings: Mappings) -> None:
    # The kernel takes a map in one write only.
    text = "".join(f"{container} {host} {count}\n" for container, host, count in mappings)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
