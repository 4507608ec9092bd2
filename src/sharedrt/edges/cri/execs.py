"""ExecSync."""

from typing import Final

from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.names import checked_id
from sharedrt.model.faults import InvalidArgument
from sharedrt.pb.runtime import v1 as pb

OUTPUT_LIMIT_BYTES: Final = (16 << 20) - 1024
"""Of both streams together, so that the answer fits one message of 16 MiB, the most that a kubelet reads."""


class ExecCalls(RuntimePart):
    async def exec_sync(self, exec_sync_request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
        """``timeout`` in seconds, 0: no bound. Output beyond 16 MiB is cut."""
        request = exec_sync_request
        if not request.cmd:
            raise InvalidArgument("cmd", "", "must not be empty")
        if request.timeout < 0:
            raise InvalidArgument("timeout", request.timeout, "must not be negative")
        record = self.containers.get(checked_id("container_id", request.container_id))
        result = await self.context.services.execs.sync(
            record.id, request.cmd, timeout_s=float(request.timeout)
        )
        stdout = result.stdout[:OUTPUT_LIMIT_BYTES]
        stderr = result.stderr[: OUTPUT_LIMIT_BYTES - len(stdout)]
        return pb.ExecSyncResponse(stdout=stdout, stderr=stderr, exit_code=result.exit_code)
