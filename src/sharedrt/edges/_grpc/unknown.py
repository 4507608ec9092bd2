"""Methods that a server does not have.

grpclib answers them itself, before any listener is asked, and leaves out the content type: to a client of Go's library
that is no answer of gRPC's, so it sees UNKNOWN where it waits for UNIMPLEMENTED, to do without that method.
"""

from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream


class Methods(dict[str, Handler]):
    """A server's methods by path; any other path has one that refuses, by name."""

    def get(self, path: str, default: Any = None) -> Handler:
        known = super().get(path)
        # The types are of no use: no message is read, and none is sent.
        return known or Handler(_refuse, Cardinality.UNARY_UNARY, bytes, bytes)


async def _refuse(stream: Stream[Any, Any]) -> None:
    service, _, method = stream._method_name.removeprefix("/").rpartition("/")
    raise GRPCError(Status.UNIMPLEMENTED, f"{service} has no method {method} here")
