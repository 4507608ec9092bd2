"""Port-forward: over SPDY, a pair of streams (``data`` and ``error``) for each connection to the pod."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from sharedrt.edges.streaming.pipes import Pipe, TcpPipe
from sharedrt.edges.streaming.spdy_link import SpdyLink, SpdyStream
from sharedrt.edges.streaming.tokens import PortForwardJob
from sharedrt.model.faults import Fault, InvalidArgument
from sharedrt.wire.remote_command import STREAM_TYPE
from sharedrt.wire.spdy import FrameError
from sharedrt.wire.websocket import WebSocketError

log = structlog.get_logger(__name__)

PROTOCOL: Final = "portforward.k8s.io"
PAIR_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class _Pair:
    data: SpdyStream | None = None
    error: SpdyStream | None = None


class PortForwarder:
    """All connections of one client."""

    def __init__(self, job: PortForwardJob, pipe: Pipe) -> None:
        self._job = job
        self._link = SpdyLink(pipe, self._on_open)
        self._pairs: dict[str, _Pair] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until the client closes; its connections are then closed too."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._link.receive()
                raise _ClientClosed("closed")
        except* (_ClientClosed, FrameError, WebSocketError, OSError) as ended:
            log.debug("client gone", sandbox=self._job.sandbox, reason=str(ended.exceptions[0]))
        await self._link.finish()

    def _on_open(self, stream: SpdyStream) -> None:
        assert self._group is not None, "streams come only while it runs"
        request = stream.headers.get("requestid", "")
        kind = stream.headers.get(STREAM_TYPE, "")
        pair = self._pairs.get(request)
        if not request or kind not in ("data", "error") or (pair and getattr(pair, kind)):
            self._group.create_task(stream.reset())
            return
        if pair is None:
            pair = self._pairs[request] = _Pair()
            self._group.create_task(self._reset_lonely(request, pair))
        setattr(pair, kind, stream)
        if pair.data is not None and pair.error is not None:
            del self._pairs[request]
            self._group.create_task(self._forward(pair.data, pair.error))

    async def _reset_lonely(self, request: str, pair: _Pair) -> None:
        """A stream whose partner does not come."""
        await asyncio.sleep(PAIR_TIMEOUT_S)
        if self._pairs.get(request) is pair:
            del self._pairs[request]
            if lonely := pair.data or pair.error:
                await lonely.reset()

    async def _forward(self, data: SpdyStream, error: SpdyStream) -> None:
        port = data.headers.get("port", "")
        sandbox = self._job.sandbox
        try:
            pod = await self._connect(port)
        except (Fault, OSError) as failure:
            log.info("port not forwarded", sandbox=sandbox, port=port, error=str(failure))
            message = f"error forwarding port {port} to pod {sandbox}: {failure}"
            await error.write(message.encode())
        else:
            try:
                await _join(data, pod)
            except OSError as lost:
                # Not a word on the error stream: kubectl would give up its other connections, too.
                log.debug("connection broken", sandbox=sandbox, port=port, error=str(lost))
                await data.reset()
        await data.close()
        await error.close()
        for stream in (data, error):
            self._link.forget(stream)

    async def _connect(self, text: str) -> TcpPipe:
        port = int(text) if text.isdecimal() and len(text) <= 5 else 0
        if not 0 < port < 1 << 16:
            raise InvalidArgument("port", text, "not a port")
        if self._job.ports and port not in self._job.ports:
            raise InvalidArgument("port", port, "not one of those that were asked for")
        sock = await self._job.services.pods.connect(self._job.sandbox, port)
        return TcpPipe(*await asyncio.open_connection(sock=sock))


async def _join(data: SpdyStream, pod: TcpPipe) -> None:
    """Both ways, until both have ended. Raises OSError when one breaks."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_to_pod(data, pod))
            group.create_task(_from_pod(pod, data))
    except* OSError as broken:
        failure = broken.exceptions[0]
    finally:
        pod.close()
    if failure is not None:
        raise failure


async def _to_pod(data: SpdyStream, pod: TcpPipe) -> None:
    with suppress(ConnectionError):  # the pod's end is closed: what it has sent still counts
        while chunk := await data.read():
            await pod.write(chunk)
        pod.end()


async def _from_pod(pod: TcpPipe, data: SpdyStream) -> None:
    while chunk := await pod.read():
        await data.write(chunk)
    await data.close()


class _ClientClosed(Exception):
    pass
