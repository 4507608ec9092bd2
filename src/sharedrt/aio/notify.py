"""systemd's readiness protocol (sd_notify(3)): one datagram to the socket that the manager names."""

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, if there is one: ``READY=1``, ``STOPPING=1``, ``STATUS=...``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.connect(address)
        sender.send(state.encode())
