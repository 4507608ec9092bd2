"""Faults as HTTP statuses and JSON."""

from collections.abc import Awaitable, Callable
from typing import Any, assert_never, cast

import structlog
from aiohttp import web

from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    Ambiguous,
    AnyFault,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    Internal,
    InUse,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StartFailed,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status_of(fault: AnyFault) -> int:
    match fault:
        case InvalidArgument() | Ambiguous():
            return 400
        case Unauthenticated():
            return 401
        case PermissionDenied():
            return 403
        case NotFound():
            return 404
        case AlreadyExists() | AlreadyDone() | InUse() | FailedPrecondition():
            return 409
        case ResourceExhausted():
            return 507
        case Unimplemented():
            return 501
        case Unavailable():
            return 502
        case DeadlineExceeded():
            return 504
        case DataLoss() | StartFailed() | Internal():
            return 500
        case _:
            assert_never(fault)


def error_body(fault: Fault) -> dict[str, Any]:
    """``code`` is the fault's class, so that a script need not read the sentence."""
    return {"error": {"code": type(fault).__name__, "message": " ".join(str(fault).split())}}


def bug_body() -> dict[str, Any]:
    """For what is no fault: the log has the details."""
    return {"error": {"code": "Internal", "message": "internal error; the daemon's log has more"}}


@web.middleware
async def map_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Faults answered by what they are; anything else is a bug: logged whole, told without details."""
    try:
        return await handler(request)
    except Fault as fault:
        status = status_of(cast(AnyFault, fault))
        log.info("request refused", path=request.path, status=status, error=str(fault))
        return web.json_response(error_body(fault), status=status)
    except web.HTTPException as error:
        body = {"error": {"code": error.reason, "message": f"{request.method} {request.path}"}}
        return web.json_response(body, status=error.status)
    except Exception:
        log.exception("bug in a request", path=request.path)
        return web.json_response(bug_body(), status=500)
