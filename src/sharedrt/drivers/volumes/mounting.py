"""Mounting what a volume's options name (``type``, ``device``, ``o``), by mount(8). Blocking: call on threads.

mount(8) rather than mount(2), since it knows the words of ``o``, and sets up loop devices that vanish with
the mount. Its helpers are not called (``-i``): for NFS the kernel itself takes the options, with ``addr``
as a number, as dockerd gives them.
"""

import ipaddress
import socket
import subprocess
from collections.abc import Mapping
from typing import Final

from sharedrt.model.faults import FailedPrecondition, InvalidArgument

_TIMEOUT_S: Final = 60
"""A server that does not answer holds mount(8) in the kernel."""
_NETWORK_TYPES: Final = frozenset(("nfs", "nfs4", "cifs"))


def mount_volume(name: str, target: str, options: Mapping[str, str]) -> None:
    """Mount ``device`` at ``target``.

    Raises:
        FailedPrecondition: mount(8)'s own words. InvalidArgument: a server's name that nobody knows.
    """
    kind, device, words = options.get("type", ""), options["device"], options.get("o", "")
    if kind in _NETWORK_TYPES:
        words = _with_address(words)
    command = ["mount", "-i", "--source", device, "--target", target]
    if kind and kind != "none":
        command += ["-t", kind]
    if words:
        command += ["-o", words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise FailedPrecondition("volume", name, "mount(8) is missing on this host") from error
    except subprocess.TimeoutExpired as error:
        raise FailedPrecondition(
            "volume", name, f"{device} was not mounted within {_TIMEOUT_S} s"
        ) from error
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())
        raise FailedPrecondition(
            "volume", name, f"failed to mount local volume: {device}: {words[:500]}"
        )


def _with_address(words: str) -> str:
    """``addr=NAME`` with the name's address."""
    parts = []
    for word in words.split(","):
        key, _, host = word.partition("=")
        if key == "addr" and host:
            word = f"addr={_address(host)}"
        parts.append(word)
    return ",".join(parts)


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass  # a name
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:  # UnicodeError: a label is empty or over-long
        raise InvalidArgument("volume option addr", host, f"cannot be resolved: {error}") from error
