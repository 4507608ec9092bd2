"""Attaching before a container starts, as Docker clients do: the session waits for the start."""

import asyncio
from collections.abc import Awaitable, Callable

from sharedrt.model.faults import Fault
from sharedrt.model.ids import ContainerId
from sharedrt.model.stdio import StdioSession, StdStream


class AttachSession:
    """A :class:`StdioSession` that is bound to conmon's streams at the container's next start.

    Input sent before waits with it. A start that fails ends the session with that fault. Whoever has read to the
    end of an ended container's output may rely on it that its network and ports are free.

    Args:
        cleaned: returns when nothing is left of a container's run that has ended, at once of one that goes on.
    """

    def __init__(
        self,
        *,
        tty: bool,
        exit_code: Callable[[], Awaitable[int]],
        cleaned: Callable[[], Awaitable[None]],
        on_close: Callable[["AttachSession"], None] = lambda _: None,
    ) -> None:
        self._tty = tty
        self._exit_code = exit_code
        self._cleaned = cleaned
        self._on_close = on_close
        self._bound: asyncio.Future[StdioSession] = asyncio.get_running_loop().create_future()

    @property
    def tty(self) -> bool:
        return self._tty

    @property
    def waiting(self) -> bool:
        """Neither bound nor failed nor closed."""
        return not self._bound.done()

    def bind(self, session: StdioSession) -> bool:
        """Connect; False when the client has gone already."""
        if self._bound.done():
            return False
        self._bound.set_result(session)
        return True

    def fail(self, fault: Fault) -> None:
        """The start failed: there will be no streams."""
        if not self._bound.done():
            self._bound.set_exception(fault)
            self._bound.exception()

    async def read(self) -> tuple[StdStream, bytes] | None:
        if (item := await (await self._session()).read()) is None:
            await self._cleaned()
        return item

    async def write(self, data: bytes) -> None:
        await (await self._session()).write(data)

    async def close_stdin(self) -> None:
        await (await self._session()).close_stdin()

    async def resize(self, width: int, height: int) -> None:
        await (await self._session()).resize(width, height)

    async def wait(self) -> int:
        return await self._exit_code()

    async def close(self) -> None:
        self._on_close(self)
        if not self._bound.done():
            self._bound.cancel()
        elif not self._bound.cancelled() and self._bound.exception() is None:
            await self._bound.result().close()

    async def __aenter__(self) -> "AttachSession":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _session(self) -> StdioSession:
        return await asyncio.shield(self._bound)


class WaitingClients:
    """Sessions that wait for a start, by container."""

    def __init__(self) -> None:
        self._sessions: dict[ContainerId, list[AttachSession]] = {}

    def add(
        self,
        id: ContainerId,
        *,
        tty: bool,
        exit_code: Callable[[], Awaitable[int]],
        cleaned: Callable[[], Awaitable[None]],
    ) -> AttachSession:
        """A session for the container's next start; it is forgotten when its client goes."""
        session = AttachSession(
            tty=tty,
            exit_code=exit_code,
            cleaned=cleaned,
            on_close=lambda gone: self._drop(id, gone),
        )
        self._sessions.setdefault(id, []).append(session)
        return session

    async def bind(self, id: ContainerId, attach: Callable[[], Awaitable[StdioSession]]) -> None:
        """Connect all that wait, those too that come meanwhile. Whom it fails for is told; others go on."""
        while sessions := self._sessions.get(id):
            waiting = sessions[0]
            try:
                session = await attach()
            except Fault as fault:
                waiting.fail(fault)
            else:
                if not waiting.bind(session):
                    await session.close()
            self._drop(id, waiting)

    def fail(self, id: ContainerId, fault: Fault) -> None:
        """There will be no start, or it failed."""
        for session in self._sessions.pop(id, []):
            session.fail(fault)

    def _drop(self, id: ContainerId, session: AttachSession) -> None:
        if (sessions := self._sessions.get(id)) is not None and session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._sessions[id]
