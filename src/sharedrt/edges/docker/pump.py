"""Moves bytes between a client and a process's standard streams.

One task each way. Output ends the pump; input may end before it, and what that means is dockerd's choice (moby,
container/stream/attach.go): the process's input is closed when the container was made so (StdinOnce, no terminal);
otherwise the client has left.
"""

from dataclasses import dataclass
from typing import Protocol

from sharedrt.aio.groups import task_group
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.stdio import StdioSession, StdStream
from sharedrt.wire.docker_detach import DetachScanner
from sharedrt.wire.docker_stream import encode_frame


class Client(Protocol):
    """The client's end: a hijacked connection or a WebSocket."""

    async def read(self) -> bytes:
        """Empty at the end of its input, or when it is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when it is gone."""
        ...

    async def gone(self) -> None:
        """Returns when it is known to be gone altogether, whether or not somebody reads."""
        ...


@dataclass(frozen=True, slots=True)
class PumpPlan:
    """What a client asked to be connected.

    ``framed``: output goes in Docker's frames. ``close_stdin``: the end of the client's input is the process's too.
    """

    stdin: bool
    stdout: bool
    stderr: bool
    framed: bool
    close_stdin: bool
    detach_keys: bytes = b""


class Detached(Exception):
    """The user typed the detach keys, or ended an input that must stay open."""


async def pump(client: Client, session: StdioSession, plan: PumpPlan) -> bool:
    """Run until the process's output ends or the client leaves.

    Returns:
        True when the user detached by keys.

    Raises:
        ConnectionResetError: the client is gone.
        Fault: the process could not be started.
    """
    try:
        async with task_group() as group:
            others = [group.create_task(_watch(client))]
            if plan.stdin:
                others.append(group.create_task(_input(client, session, plan)))
            await _output(client, session, plan)
            for task in others:
                task.cancel()
    except Detached as detached:
        return bool(detached.args)
    return False


async def _output(client: Client, session: StdioSession, plan: PumpPlan) -> None:
    wanted = {StdStream.STDOUT: plan.stdout, StdStream.STDERR: plan.stderr}
    while (item := await session.read()) is not None:
        stream, data = item
        if wanted.get(stream):
            await client.write(encode_frame(stream, data) if plan.framed else data)


async def _input(client: Client, session: StdioSession, plan: PumpPlan) -> None:
    scanner = DetachScanner(plan.detach_keys)
    try:
        while data := await client.read():
            data, detached = scanner.receive_data(data)
            if data:
                await session.write(data)
            if detached:
                raise Detached("keys")
        if rest := scanner.receive_eof():
            await session.write(rest)
        if plan.close_stdin:
            await session.close_stdin()
            return
    except FailedPrecondition:
        # The process has closed its input, or ended; its output tells the rest.
        return
    raise Detached


async def _watch(client: Client) -> None:
    """Beside the input, which may be stuck in a process that does not read."""
    await client.gone()
    raise ConnectionResetError("the client is gone")
