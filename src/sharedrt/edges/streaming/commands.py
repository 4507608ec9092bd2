"""Exec and attach: a client's streams joined to a process's."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from sharedrt.edges.streaming.remote import ClientGone, Remote
from sharedrt.edges.streaming.tokens import AttachJob, ExecJob
from sharedrt.model.faults import FailedPrecondition, Fault
from sharedrt.model.stdio import StdioSession, StdStream
from sharedrt.services.contracts import NewExec
from sharedrt.wire.remote_command import Channel, exit_failure, internal_failure, success

log = structlog.get_logger(__name__)


_FAREWELL_S: Final = 1.0
_STOPPING: Final = "the container runtime is stopping"


async def run_command(job: ExecJob | AttachJob, remote: Remote) -> None:
    """Until the process has ended, and the client knows, or the client has gone.

    Cancelled, the client is told: kubectl takes a connection that ends without a status for a success.
    """
    try:
        await _serve(job, remote)
    except asyncio.CancelledError:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_FAREWELL_S):
                await remote.send(Channel.ERROR, internal_failure(_STOPPING, remote.protocol))
                await remote.finish()
        raise


async def _serve(job: ExecJob | AttachJob, remote: Remote) -> None:
    lost: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            receiver = group.create_task(remote.receive())
            await remote.send(Channel.ERROR, await _run(job, remote))
            receiver.cancel()
    except* (ClientGone, OSError) as group_of_one:
        lost = group_of_one.exceptions[0]
    if lost is not None:
        log.debug("client gone", container=job.container, reason=str(lost))
    else:
        await remote.finish()


async def _run(job: ExecJob | AttachJob, remote: Remote) -> bytes:
    """The final status."""
    try:
        await remote.ready()
        session = await _open(job)
        async with session:
            try:
                await _join(session, remote, stdin=job.streams.stdin)
            finally:
                if isinstance(job, AttachJob) and job.streams.stdin:
                    await _end_stdin(session)
            if isinstance(job, AttachJob):
                return success(remote.protocol)
            code = await session.wait()
    except Fault as fault:
        log.info("stream refused", container=job.container, error=str(fault))
        return internal_failure(str(fault), remote.protocol)
    return exit_failure(code, remote.protocol) if code else success(remote.protocol)


async def _open(job: ExecJob | AttachJob) -> StdioSession:
    if isinstance(job, AttachJob):
        return await job.services.containers.attach(job.container)
    streams = job.streams
    return await job.services.execs.run(
        NewExec(
            container_id=job.container,
            args=job.args,
            tty=streams.tty,
            attach_stdin=streams.stdin,
            attach_stdout=streams.stdout,
            attach_stderr=streams.stderr,
        )
    )


async def _join(session: StdioSession, remote: Remote, *, stdin: bool) -> None:
    """Until the process's output has ended. Raises what reading it raised."""
    failure: Fault | None = None
    async with asyncio.TaskGroup() as group:
        helpers = [group.create_task(_pump_sizes(session, remote))]
        if stdin:
            helpers.append(group.create_task(_pump_stdin(session, remote)))
        try:
            while (output := await session.read()) is not None:
                stream, data = output
                to_stderr = stream is StdStream.STDERR
                await remote.send(Channel.STDERR if to_stderr else Channel.STDOUT, data)
        except Fault as fault:
            # Not through the group, which would wrap it.
            failure = fault
        for helper in helpers:
            helper.cancel()
    if failure is not None:
        raise failure


async def _pump_stdin(session: StdioSession, remote: Remote) -> None:
    try:
        while data := await remote.read_stdin():
            await session.write(data)
        await session.close_stdin()
    except (FailedPrecondition, OSError) as error:
        # The process has closed its end, or ended: its output and exit code still count.
        log.debug("input not taken", error=str(error))


async def _end_stdin(session: StdioSession) -> None:
    """A container with ``stdin_once`` reads its end when the client has gone, however that was. Not waited for
    is one that does not read, while another client's input is on its way."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await session.close_stdin()
    except (Fault, TimeoutError) as error:
        log.debug("input not ended", error=str(error))


async def _pump_sizes(session: StdioSession, remote: Remote) -> None:
    while (size := await remote.read_size()) is not None:
        try:
            await session.resize(size.width, size.height)
        except Fault as fault:
            log.debug("size not taken", error=str(fault))
