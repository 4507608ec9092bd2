"""What the log tells of a call that failed: the call, the objects that its query names, Docker's words."""

from typing import Final

import structlog

from sharedrt.edges.docker.call import Call

log = structlog.get_logger(__name__)

_NAMES: Final = ("name", "fromImage", "tag", "repo", "container", "t")
"""Of the query, only what names objects: other parameters (build arguments) may be secrets."""


def log_refused(call: Call, status: int, message: str) -> None:
    """A warning where the fault is ours or the host's, else one line for whoever looks for it."""
    tell = log.warning if status >= 500 else log.info
    named = {name: call.text(name) for name in _NAMES if call.text(name)}
    tell("call refused", call=name_of(call), status=status, error=message, **named)


def name_of(call: Call) -> str:
    return f"{call.request.method} {call.request.path}"
