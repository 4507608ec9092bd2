"""SPDY/3.1, as far as Kubernetes' streaming (exec, attach, port-forward) speaks it: bytes in, events out.

Spec: "SPDY Protocol - Draft 3.1". Flow control is left out on purpose: Go's spdystream, which is at the other
end of every such connection, neither heeds WINDOW_UPDATE nor sends it, so TCP's own is the only one.
"""

from sharedrt.wire.spdy.connection import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    SpdyConnection,
    StreamAccepted,
    StreamOpened,
    StreamReset,
)
from sharedrt.wire.spdy.frames import FrameError, ResetCode

__all__ = [
    "DataReceived",
    "Event",
    "FrameError",
    "GoAwayReceived",
    "HeadersReceived",
    "ResetCode",
    "SpdyConnection",
    "StreamAccepted",
    "StreamOpened",
    "StreamReset",
]
