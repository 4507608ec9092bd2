"""The sockets of a Docker door."""

import asyncio
import errno
import os
import socket
import ssl
import stat
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web

from sharedrt.edges.docker.gate import ConnectionGate, PeerCheck
from sharedrt.edges.docker.tls import TlsProtocol
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, ResourceExhausted

log = structlog.get_logger(__name__)

_BACKLOG = 512
_SHUTDOWN_S = 5.0


class DockerServer:
    """A door that is open. An async context manager's yield in all but name: call :meth:`close`."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._listeners: list[asyncio.Server] = []
        self._paths: list[tuple[Path, int]] = []
        self.addresses: list[str] = []

    async def close(self) -> None:
        """Stop listening, end waiting calls, give the others a moment, remove the socket files."""
        for listener in self._listeners:
            listener.close()
        for path, inode in self._paths:
            _remove_own(path, inode)
        await self._runner.cleanup()

    async def listen_unix(
        self, path: Path, *, group: int | None = None, peer_check: PeerCheck | None = None
    ) -> None:
        """Open a unix socket. See :func:`serve`."""
        sock, inode = bind_unix(path, group=group)
        loop = asyncio.get_running_loop()
        server = self._runner.server
        assert server is not None
        listener = await loop.create_unix_server(
            lambda: ConnectionGate(server(), peer_check), sock=sock, backlog=_BACKLOG
        )
        self._listeners.append(listener)
        self._paths.append((path, inode))
        self.addresses.append(f"unix://{path}")

    async def listen_tcp(self, address: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen on ``host:port`` (IPv6 in brackets). See :func:`serve`."""
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        server = self._runner.server
        assert server is not None

        def connection() -> asyncio.Protocol:
            gate = partial(ConnectionGate, server())
            return gate() if tls is None else TlsProtocol(tls, gate)

        try:
            listener = await loop.create_server(connection, host, port, backlog=_BACKLOG)
        except OSError as error:
            raise FailedPrecondition("docker TCP address", address, str(error)) from error
        self._listeners.append(listener)
        for sock in listener.sockets:
            bound = sock.getsockname()
            self.addresses.append(f"tcp://{bound[0]}:{bound[1]}")


async def serve(
    app: web.Application,
    *,
    unix: Path | None = None,
    group: int | None = None,
    peer_check: PeerCheck | None = None,
    tcp: str = "",
    tls: ssl.SSLContext | None = None,
) -> DockerServer:
    """Open a door.

    Args:
        unix: path of its socket. A stale socket file is replaced, a live one refused.
        group: numeric group that may use the socket (mode 0660); ``None``: root alone (0600).
        peer_check: asked for every connection of the unix socket.
        tcp: ``address:port`` besides. Without ``tls`` only loopback addresses.

    Raises:
        FailedPrecondition: a live daemon listens there, or the address is taken.
        InvalidArgument: a TCP address that is malformed, or open to the network without TLS.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        auto_decompress=False,
        max_line_size=64 << 10,
        max_field_size=64 << 10,
    )
    async with AsyncExitStack() as undo:
        undo.push_async_callback(runner.cleanup)
        await runner.setup()
        server = DockerServer(runner)
        undo.push_async_callback(server.close)
        if unix is not None:
            await server.listen_unix(unix, group=group, peer_check=peer_check)
        if tcp:
            if tls is None and not _is_loopback(tcp):
                raise InvalidArgument(
                    "docker.tcp", tcp, "without TLS only loopback addresses are served"
                )
            await server.listen_tcp(tcp, tls=tls)
        undo.pop_all()
    return server


def make_tls(cert: Path, key: Path, ca: Path | None) -> ssl.SSLContext:
    """TLS for the TCP door; with ``ca``, clients must show a certificate that it signed.

    Raises:
        InvalidArgument: a file is missing or no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument("docker.tls_cert", str(cert), str(error)) from error
    return context


def bind_unix(path: Path, *, group: int | None) -> tuple[socket.socket, int]:
    """A listening socket at ``path``, and the file's inode; nobody but root can connect before its mode is set.

    Raises:
        FailedPrecondition: something listens there, or the path is no socket.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        previous = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(previous)
        if group is not None:
            os.chown(path, 0, group)
            path.chmod(0o660)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        inode = path.lstat().st_ino
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        if error.errno == errno.ENOSPC:
            raise ResourceExhausted("disk", f"{path}: {reason}") from error
        raise FailedPrecondition("socket", str(path), reason) from error
    return sock, inode


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition("socket", str(path), "there is something that is no socket")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            log.info("stale socket replaced", path=str(path))
        except FileNotFoundError:
            return
        except TimeoutError:
            # It listens, and is too busy to accept.
            raise FailedPrecondition("socket", str(path), "a busy daemon listens there") from None
        else:
            raise FailedPrecondition("socket", str(path), "a running daemon listens there")
    path.unlink(missing_ok=True)


def _remove_own(path: Path, inode: int) -> None:
    """Remove the socket file, unless another daemon has put its own there meanwhile."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


def split_address(address: str) -> tuple[str, int]:
    """``host:port``. Raises InvalidArgument."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgument("docker.tcp", address, "must be ADDRESS:PORT")
    return host.strip("[]"), int(port)


def _is_loopback(address: str) -> bool:
    host, _ = split_address(address)
    return host in ("localhost", "::1") or host.startswith("127.")
