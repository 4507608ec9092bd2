"""A gRPC server on a unix socket."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from grpclib import GRPCError, Status
from grpclib.config import Configuration
from grpclib.events import RecvRequest, listen
from grpclib.server import Server

from sharedrt.edges._grpc.calls import Calls, Describe
from sharedrt.edges._grpc.messages import BoundedCodec
from sharedrt.edges._grpc.unknown import Methods
from sharedrt.edges._unix_socket import bound_socket, peer_of

if TYPE_CHECKING:
    from grpclib._typing import IServable

log = structlog.get_logger(__name__)

GRACE_S: Final = 5.0
"""How long calls under way may take to end when the daemon stops."""
_WINDOW_BYTES: Final = 4 << 20


class GrpcServer:
    """Serves ``services`` to processes of root, or of our own user.

    Faults become statuses, any other exception is logged and answered UNKNOWN without details; messages
    are bounded to 16 MiB both ways; a call's deadline and its client's cancellation cancel its handler.

    Args:
        listeners: called for each request, inside of the log and the mapping of faults: for metadata.
    """

    def __init__(
        self,
        services: Sequence["IServable"],
        *,
        describe: Describe,
        listeners: Sequence[Callable[[RecvRequest], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self._calls = Calls(describe)
        self._server = Server(
            services,
            codec=BoundedCodec(),
            config=Configuration(
                http2_connection_window_size=2 * _WINDOW_BYTES,
                http2_stream_window_size=_WINDOW_BYTES,
            ),
        )
        self._server._mapping = Methods(self._server._mapping)
        listen(self._server, RecvRequest, _check_peer)
        for listener in listeners:
            listen(self._server, RecvRequest, listener)
        self._calls.attach(self._server)

    @asynccontextmanager
    async def listening(self, path: Path, *, mode: int = 0o600) -> AsyncIterator[None]:
        """Serve at ``path`` until the block ends; then let calls end by themselves for a while.

        Raises:
            FailedPrecondition: another daemon listens there, or the path cannot be bound.
        """
        with bound_socket(path, mode=mode) as sock:
            await self._server.start(sock=sock)
            log.info("listening", socket=str(path))
            try:
                yield
            finally:
                await self._stop()

    async def _stop(self) -> None:
        await self._calls.drain(GRACE_S)
        self._server.close()
        await self._server.wait_closed()


async def _check_peer(event: RecvRequest) -> None:
    """A socket passed on to another user does not carry its rights along."""
    sock: Any = event.peer._transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return
    peer = peer_of(sock)
    if peer.uid not in (0, os.geteuid()):
        raise GRPCError(Status.PERMISSION_DENIED, f"user {peer.uid} may not use this socket")
