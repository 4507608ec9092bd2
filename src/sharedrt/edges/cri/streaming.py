"""Exec, Attach and PortForward: the kubelet gets an address, and its client's streams are served there."""

from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.names import checked_id
from sharedrt.edges.cri.streaming_contract import Streaming
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.records import ContainerRecord, ContainerState, SandboxState
from sharedrt.pb.runtime import v1 as pb


class StreamingCalls(RuntimePart):
    async def exec(self, exec_request: pb.ExecRequest) -> pb.ExecResponse:
        request = exec_request
        if not request.cmd:
            raise InvalidArgument("cmd", "", "must not be empty")
        _check_streams(request)
        record = self._running(request.container_id)
        url = self.streaming.exec(
            self.context.services,
            record.id,
            request.cmd,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
        )
        return pb.ExecResponse(url=url)

    async def attach(self, attach_request: pb.AttachRequest) -> pb.AttachResponse:
        request = attach_request
        _check_streams(request)
        record = self._running(request.container_id)
        if request.tty != record.spec.tty:
            has = "has a terminal" if record.spec.tty else "has no terminal"
            raise InvalidArgument("tty", request.tty, f"the container {has}")
        url = self.streaming.attach(
            self.context.services,
            record.id,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
        )
        return pb.AttachResponse(url=url)

    async def port_forward(
        self, port_forward_request: pb.PortForwardRequest
    ) -> pb.PortForwardResponse:
        """Ports are named by the client's streams; those of the request, if any, bound them."""
        request = port_forward_request
        record = self.pods.get(checked_id("pod_sandbox_id", request.pod_sandbox_id))
        if record.state is not SandboxState.READY:
            raise FailedPrecondition("sandbox", record.id, "is not ready")
        for port in request.port:
            if not 0 < port < 1 << 16:
                raise InvalidArgument("port", port, "not a port")
        url = self.streaming.port_forward(self.context.services, record.id, request.port)
        return pb.PortForwardResponse(url=url)

    @property
    def streaming(self) -> Streaming:
        return self.context.streaming

    def _running(self, ref: str) -> ContainerRecord:
        record = self.containers.get(checked_id("container_id", ref))
        if record.state is not ContainerState.RUNNING:
            raise FailedPrecondition("container", record.id, f"is {record.state.value}")
        return record


def _check_streams(request: pb.ExecRequest | pb.AttachRequest) -> None:
    if request.tty and request.stderr:
        raise InvalidArgument("stderr", True, "a terminal has no stderr of its own")
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("stdout", False, "one of stdin, stdout and stderr must be set")
