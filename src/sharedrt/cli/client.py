"""HTTP over the daemon's admin socket, with the standard library alone: it is there in an instant."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode

from sharedrt.cli.errors import CliError, Interrupted, NoDaemon

_CONNECT_TIMEOUT_S: Final = 5.0

Reply = dict[str, Any]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("admin")
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(_CONNECT_TIMEOUT_S)
        try:
            sock.connect(str(self._path))
        except BaseException:
            sock.close()
            raise
        # Streams may be silent for as long as they like.
        sock.settimeout(None)
        self.sock = sock


class AdminClient:
    """Calls of one daemon."""

    def __init__(self, address: Path) -> None:
        self.address = address

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """One request and its JSON object.

        Raises:
            NoDaemon: nobody answers. CliError: the daemon's refusal, in its words.
        """
        data = json.dumps(body).encode() if body is not None else None
        with self._request(method, path, query or {}, data) as response:
            reply = _parse(response.read())
        if "error" in reply:
            raise refusal(reply)
        return reply

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Reply]:
        """The ``items`` of a listing."""
        found: list[Reply] = self.call("GET", path, query)["items"]
        return found

    def lines(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | IO[bytes] | None = None,
    ) -> Iterator[Reply]:
        """The objects of a streamed answer, as they come. Raises as :meth:`call` does."""
        data = json.dumps(body).encode() if isinstance(body, Mapping) else body
        with self._request(method, path, query or {}, data) as response:
            while line := response.readline():
                reply = _parse(line)
                if "error" in reply:
                    raise refusal(reply)
                yield reply

    @contextmanager
    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | IO[bytes] | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _UnixConnection(self.address)
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            with _errors_named(self.address):
                connection.connect()
                # It may refuse before it has read all: then its reason is waiting to be read.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(
                        method, target, body, encode_chunked=True, headers=_headers(body)
                    )
                response = connection.getresponse()
            with response, _errors_named(self.address):
                yield response
        finally:
            connection.close()


def refusal(reply: Reply) -> CliError:
    return CliError(str(reply["error"].get("message", "refused")))


def _headers(body: bytes | IO[bytes] | None) -> dict[str, str]:
    return {} if body is None or isinstance(body, bytes) else {"Transfer-Encoding": "chunked"}


@contextmanager
def _errors_named(address: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted from error
    except PermissionError as error:
        raise NoDaemon(f"permission denied at {address}: root alone may use it") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoDaemon(f"cannot reach the daemon at {address}: is sharedrtd running?") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise NoDaemon(f"lost the daemon at {address}: {reason}") from error


def _parse(data: bytes) -> Reply:
    try:
        reply = json.loads(data)
    except ValueError as error:
        raise CliError("the daemon's answer is no JSON: is this its admin socket?") from error
    if not isinstance(reply, dict):
        raise CliError("the daemon's answer is no JSON object: is this its admin socket?")
    return reply
