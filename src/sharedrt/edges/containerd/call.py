"""What every service here needs of a call: its namespace, and streams that are closed at once."""

from collections.abc import Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final

from betterproto.grpc.grpclib_server import ServiceBase
from grpclib import GRPCError, Status
from grpclib.events import RecvRequest
from grpclib.server import Stream

from sharedrt.model.ids import LeaseId, Namespace, parse_namespace
from sharedrt.services.contracts import NamespacedRuntime, Runtime

NAMESPACE_KEY: Final = "containerd-namespace"

LEASE_KEY: Final = "containerd-lease"

_namespace: ContextVar[str] = ContextVar("containerd_namespace", default="")
_lease: ContextVar[str] = ContextVar("containerd_lease", default="")


async def bind_metadata(event: RecvRequest) -> None:
    """grpclib's listener for requests: keeps the call's namespace and lease where the handler can ask.

    betterproto's handlers get the message alone, so the metadata goes by a context variable of the call's task.
    """
    namespace = str(event.metadata.get(NAMESPACE_KEY, ""))
    lease = str(event.metadata.get(LEASE_KEY, ""))
    handle = event.method_func

    async def call(stream: Stream[Any, Any]) -> None:
        _namespace.set(namespace)
        _lease.set(lease)
        try:
            await handle(stream)
        except GRPCError as error:
            if error.status is Status.UNIMPLEMENTED and not error.message:
                # The generated base classes' answer, which names nothing.
                service, _, method = event.method_name.rpartition("/")
                raise refusal(f"{service.rpartition('.')[2]}.{method}") from error
            raise

    event.method_func = call


def calling_namespace() -> Namespace:
    """Of the call under way.

    Raises:
        GRPCError: FAILED_PRECONDITION when the client named none, in containerd's words.
        InvalidArgument: not a namespace's name.
    """
    if not (name := _namespace.get()):
        raise GRPCError(Status.FAILED_PRECONDITION, "namespace is required")
    return parse_namespace(name)


def calling_namespace_or_empty() -> str:
    """For the log: as the client named it, unchecked."""
    return _namespace.get()


def calling_lease() -> LeaseId | None:
    """The lease that is to hold what the call under way makes."""
    return LeaseId(lease) if (lease := _lease.get()) else None


class NamespacedCalls:
    """The way from a call to its namespace's services."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def here(self) -> NamespacedRuntime:
        """Raises as :func:`calling_namespace` does."""
        return self._runtime.within(calling_namespace())


class Service(ServiceBase):
    """Mixed into each service: what a streaming answer holds is let go when its call ends.

    betterproto leaves a generator of a cancelled call to the garbage collector.
    """

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[..., Any], stream: Stream[Any, Any], request: Any
    ) -> None:
        async with aclosing(handler(request)) as answers:
            async for answer in answers:
                await stream.send_message(answer)


def refusal(method: str, reason: str = "") -> GRPCError:
    """The answer to a method that this daemon does not have: named, with what serves instead."""
    words = f"{method} is not supported by this daemon"
    return GRPCError(Status.UNIMPLEMENTED, f"{words}: {reason}" if reason else words)
