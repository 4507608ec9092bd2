"""What happens around every call: who may, the log, and the status of what went wrong."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import structlog
from grpclib import GRPCError, Status
from grpclib.events import RecvMessage, RecvRequest, listen
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Server, Stream
from h2.exceptions import ProtocolError as ClientGone

from sharedrt.aio.calls import GRPC_CALLS, GRPC_SECONDS
from sharedrt.edges._grpc.errors import one_line, to_grpc
from sharedrt.edges._grpc.messages import bound_receiving
from sharedrt.model.faults import AnyFault, Fault

if TYPE_CHECKING:
    from grpclib._typing import IServerMethodFunc

log = structlog.get_logger(__name__)

Describe = Callable[[Any], Mapping[str, str]]
"""What of a request the log shall name: its objects' ids and names, never what they hold."""

_request: ContextVar[Any] = ContextVar("grpc_request", default=None)


class Calls:
    """The calls under way on one server, and the one listener that wraps them all."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._closing = False
        self._unary = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def attach(self, server: Server) -> None:
        listen(server, RecvRequest, self._wrap)
        listen(server, RecvMessage, _remember)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, and wait a while for those that end by themselves: a server's stream lasts
        as long as its client likes."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("calls cut off by the stop", calls=self._unary)

    async def _wrap(self, event: RecvRequest) -> None:
        inner, name = event.method_func, event.method_name

        async def call(stream: Stream[Any, Any]) -> None:
            if self._closing:
                raise GRPCError(Status.UNAVAILABLE, "the daemon is stopping")
            with self._counted(stream):
                bound_receiving(stream)
                await self._run(inner, name, stream)

        event.method_func = call

    @contextmanager
    def _counted(self, stream: Stream[Any, Any]) -> Iterator[None]:
        if stream._cardinality.server_streaming:
            yield
            return
        self._unary += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._unary -= 1
            if not self._unary:
                self._idle.set()

    async def _run(self, inner: "IServerMethodFunc", name: str, stream: Stream[Any, Any]) -> None:
        started = time.monotonic()
        try:
            await inner(stream)
        except Exception as error:
            status = self._status(name, error)
            self._log(name, started, status)
            _tell(name, started, stream, status.status)
            raise status from error
        except BaseException:
            log.debug("call cancelled", method=name, ms=_ms(started), **self._subject())
            _tell(name, started, stream, Status.CANCELLED)
            raise
        _tell(name, started, stream, Status.OK)
        log.debug("call", method=name, ms=_ms(started), **self._subject())

    def _status(self, name: str, error: Exception) -> GRPCError:
        match error:
            case GRPCError():
                if error.status is Status.UNIMPLEMENTED and not error.message:
                    return GRPCError(error.status, f"{name.rpartition('/')[2]} is not implemented")
                return error
            case Fault():
                return to_grpc(cast(AnyFault, error))
            case StreamTerminatedError() | ClientGone():
                return GRPCError(Status.CANCELLED, "the client is gone")
            case TimeoutError():
                return GRPCError(Status.DEADLINE_EXCEEDED, one_line(str(error)) or "timed out")
            case _:
                log.exception("bug in a call", method=name, **self._subject())
                return GRPCError(Status.UNKNOWN, "internal error; the daemon's log has more")

    def _log(self, name: str, started: float, status: GRPCError) -> None:
        log.info(
            "call refused",
            method=name,
            ms=_ms(started),
            status=status.status.name,
            error=status.message,
            **self._subject(),
        )

    def _subject(self) -> Mapping[str, str]:
        request = _request.get()
        return self._describe(request) if request is not None else {}


async def _remember(event: RecvMessage) -> None:
    # Each call runs in a task, and so in a context, of its own.
    _request.set(event.message)


def _tell(name: str, started: float, stream: Stream[Any, Any], status: Status) -> None:
    GRPC_CALLS.inc(name, status.name)
    if not stream._cardinality.server_streaming:
        GRPC_SECONDS.observe(time.monotonic() - started, name)


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
