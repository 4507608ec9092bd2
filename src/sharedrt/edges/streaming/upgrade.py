"""From a request's head to the protocol that both ends speak."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sharedrt.edges.streaming.port_forward import PROTOCOL as PORT_FORWARD
from sharedrt.wire.http_head import RequestHead
from sharedrt.wire.remote_command import BASE64_PROTOCOLS, SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS
from sharedrt.wire.websocket import accept_key

_SPDY: Final = "SPDY/3.1"
_VERSION_FIELD: Final = "X-Stream-Protocol-Version"
_OLDEST: Final = "channel.k8s.io"
TUNNEL: Final = f"{_SPDY}+{PORT_FORWARD}"
"""SPDY inside of a WebSocket's binary messages (KEP-4006)."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Agreed: the protocol's version, and the fields of the answer (101)."""

    protocol: str
    fields: Mapping[str, str]
    websocket: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not agreed: a status such as ``403 Forbidden``, and why."""

    status: str
    reason: str
    fields: Mapping[str, str] = field(default_factory=dict)


def negotiate(head: RequestHead, *, port_forward: bool) -> Upgrade | Refusal:
    """The client's first choice that we have."""
    wants_upgrade = "upgrade" in (token.lower() for token in head.tokens("connection"))
    kind = head.first("upgrade").lower()
    if wants_upgrade and kind == "websocket":
        return _websocket(head, port_forward)
    if wants_upgrade and kind == _SPDY.lower():
        return _spdy(head, port_forward)
    return Refusal("400 Bad Request", f"must be an upgrade to {_SPDY} or websocket")


def _spdy(head: RequestHead, port_forward: bool) -> Upgrade | Refusal:
    if head.method not in ("POST", "GET"):
        return Refusal("405 Method Not Allowed", "must be POST or GET")
    known: Sequence[str] = (PORT_FORWARD,) if port_forward else SPDY_PROTOCOLS
    asked = head.tokens(_VERSION_FIELD.lower())
    fields = {"Connection": "Upgrade", "Upgrade": _SPDY}
    if not asked:
        # Clients from before versions were negotiated.
        return Upgrade(PORT_FORWARD if port_forward else _OLDEST, fields, websocket=False)
    chosen = next((protocol for protocol in asked if protocol in known), None)
    if chosen is None:
        return Refusal(
            "403 Forbidden",
            f"unable to upgrade: none of {', '.join(asked)} is known",
            {"X-Accepted-Stream-Protocol-Versions": ", ".join(known)},
        )
    return Upgrade(chosen, {**fields, _VERSION_FIELD: chosen}, websocket=False)


def _websocket(head: RequestHead, port_forward: bool) -> Upgrade | Refusal:
    key = head.first("sec-websocket-key")
    if head.method != "GET" or not key or head.first("sec-websocket-version") != "13":
        return Refusal("400 Bad Request", "malformed WebSocket handshake")
    known: Sequence[str] = (TUNNEL,) if port_forward else (*WEBSOCKET_PROTOCOLS, *BASE64_PROTOCOLS)
    asked = head.tokens("sec-websocket-protocol") or [""]
    chosen = next((protocol for protocol in asked if protocol in known), None)
    if chosen is None:
        return Refusal("403 Forbidden", f"none of {', '.join(asked)} is known")
    fields = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Accept": accept_key(key),
    }
    if chosen:
        fields["Sec-WebSocket-Protocol"] = chosen
    return Upgrade(chosen or _OLDEST, fields, websocket=True)
