"""Turning a request's connection into a raw stream (Engine API, "Hijacking")."""

from http import HTTPStatus

from aiohttp import web

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.gate import ConnectionGate, HijackedStream
from sharedrt.model.faults import Internal


class HijackedResponse(web.StreamResponse):
    """What a handler returns after a hijack: aiohttp has nothing left to write, and closes."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """The head went out by hand."""
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """The stream has ended already."""


def hijack(call: Call, content_type: str) -> HijackedStream:
    """Answer ``101 UPGRADED`` when the client asked for an upgrade, else a bare 200, and leave HTTP.

    From here on errors can only be told in the stream.
    """
    transport = call.request.transport
    gate = None if transport is None else transport.get_protocol()
    if transport is None:
        raise ConnectionResetError("the client is gone")
    if not isinstance(gate, ConnectionGate):
        raise Internal("hijack", "the app is not served through its gate")
    upgrade = "tcp" if _wants_upgrade(call.request) else ""
    stream = gate.hijack()
    if upgrade:
        lines = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade", f"Upgrade: {upgrade}"]
    else:
        lines = [f"HTTP/1.1 {HTTPStatus.OK.value} {HTTPStatus.OK.phrase}"]
    lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in call.door.headers.items()]
    stream.write_head("\r\n".join((*lines, "", "")).encode())
    return stream


def _wants_upgrade(request: web.Request) -> bool:
    connection = request.headers.get("Connection", "").lower()
    return "upgrade" in connection and bool(request.headers.get("Upgrade"))
