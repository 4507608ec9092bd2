"""Exec, attach and port-forward for kubectl, over SPDY/3.1 and WebSocket on loopback TCP.

The CRI door asks for an address with a one-time token (:class:`StreamingDoor`); the kubelet connects there on its
client's behalf. The token alone says what may be done, and in which namespace.

    tcp connection -> request head -> token -> SPDY or WebSocket -> exec | attach | port-forward
"""

from sharedrt.edges.streaming.door import StreamingDoor

__all__ = ["StreamingDoor"]
