"""Streams of progress messages: bounded, throttled, and an error code as long as nothing has been said."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from aiohttp import web

from sharedrt.aio.groups import task_group
from sharedrt.edges.docker.call import Call, dump
from sharedrt.edges.docker.refused import log_refused
from sharedrt.edges.docker.words import Refusal, to_http
from sharedrt.model.faults import AnyFault, Fault
from sharedrt.model.records import Json
from sharedrt.wire.docker_progress import failure

T = TypeVar("T")
Message = dict[str, Json]

_INTERVAL_S: Final = 0.1
"""Between two bars of one layer."""


class ProgressStream:
    """Messages by subject: of a subject's figures only the newest wait, so a slow client makes no queue grow."""

    def __init__(self) -> None:
        self._queue: dict[object, Message] = {}
        self._changed = asyncio.Event()
        self._order = 0

    def say(self, message: Message) -> None:
        """A message that must arrive."""
        self._order += 1
        self._queue[self._order] = message
        self._changed.set()

    def figure(self, subject: str, message: Message) -> None:
        """A message that the next one of the same subject replaces."""
        self._queue[subject] = message
        self._changed.set()

    def end_of(self, subject: str, message: Message) -> None:
        """A message after which the subject's figures are out of date."""
        self._queue.pop(subject, None)
        self.say(message)

    @property
    def empty(self) -> bool:
        return not self._queue

    async def wait(self) -> None:
        """Until there is something to send."""
        await self._changed.wait()

    def take(self) -> bytes:
        """All that waits, as lines of JSON."""
        messages, self._queue = self._queue, {}
        self._changed.clear()
        return b"".join(dump(message) + b"\r\n" for message in messages.values())


async def stream_progress(
    call: Call,
    progress: ProgressStream,
    work: Coroutine[Any, Any, T],
    *,
    last: Callable[[T], list[Message]] = lambda _: [],
    refuse: Callable[[Exception], Refusal | None] = lambda _: None,
    in_stream: bool = False,
) -> web.StreamResponse:
    """Run ``work`` while its messages go out. It is cancelled when the client leaves.

    A failure before the first message is an HTTP error; after that it is the stream's last message.

    Args:
        last: messages to end with.
        refuse: a failure in the words of the endpoint; ``None``: the usual ones.
        in_stream: answer 200 in any case, so that even the first failure is told in the stream. Not before there is
            something to tell: skopeo takes the head for the end of what it has to send.
    """
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    async with task_group() as group:
        group.create_task(_settle(work, outcome))
        await _first(progress, outcome)
        if not in_stream and progress.empty and (error := outcome.exception()) is not None:
            raise _refusal(error, refuse) from error
        async with call.stream("application/json") as response:
            await _copy(progress, outcome, response)
            if (error := outcome.exception()) is not None:
                refusal = _refusal(error, refuse)
                if isinstance(refusal, Refusal):
                    log_refused(call, refusal.status, refusal.message)
                    await response.write(dump(failure(refusal.message)) + b"\r\n")
                else:
                    raise refusal
            else:
                for message in last(outcome.result()):
                    await response.write(dump(message) + b"\r\n")
    return response


async def _settle(work: Coroutine[Any, Any, T], outcome: "asyncio.Future[T]") -> None:
    try:
        outcome.set_result(await work)
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - raised, or told, by whoever reads the outcome
        outcome.set_exception(error)


async def _first(progress: ProgressStream, outcome: "asyncio.Future[Any]") -> None:
    async with task_group() as group:
        waiting = group.create_task(progress.wait())
        await asyncio.wait([waiting, outcome], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()


async def _copy(
    progress: ProgressStream, outcome: "asyncio.Future[Any]", response: web.StreamResponse
) -> None:
    while not outcome.done():
        if data := progress.take():
            await response.write(data)
        await asyncio.wait([outcome], timeout=_INTERVAL_S)
    if data := progress.take():
        await response.write(data)


def _refusal(error: BaseException, refuse: Callable[[Exception], Refusal | None]) -> BaseException:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Exception) and (refusal := refuse(error)) is not None:
        return refusal
    if isinstance(error, Fault):
        return Refusal(*to_http(cast(AnyFault, error)))
    return error
