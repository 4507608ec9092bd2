"""Files from HTTP servers (:class:`sharedrt.model.drivers.Downloader`)."""

import contextlib
import errno
import hashlib
import os
import socket
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

import aiohttp
import yarl

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.drivers.names import NameResolver
from sharedrt.model.drivers import Download, Downloaded
from sharedrt.model.faults import (
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

_CHUNK_BYTES: Final = 1 << 20
_CONNECT_TIMEOUT_S: Final = 30.0
_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LOOPBACK: Final = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}

Networks = Sequence[IPv4Network | IPv6Network]


def parse_networks(texts: Sequence[str], key: str) -> Networks:
    """CIDRs of the configuration. Raises InvalidArgument naming its key."""
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidArgument("configuration", key, str(error)) from error


class HttpDownloader:
    """Implements Downloader.

    Args:
        stall_timeout_s: how long no byte may come.
        denied: where nothing is fetched from. Looked at when a connection is made, so that neither a redirect nor a
            name that changes its address gets around it; through a proxy of the environment its own rules hold.
    """

    def __init__(self, *, stall_timeout_s: float = 60.0, denied: Networks = ()) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=stall_timeout_s
        )
        self._denied = denied

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Download]:
        target = _parse(url)
        host = target.host or ""
        guard = _Guard(self._denied)
        try:
            async with (
                # The file as it lies there, not as a server may pack it for the way.
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    auto_decompress=False,
                    connector=aiohttp.TCPConnector(
                        socket_factory=guard.socket, resolver=NameResolver()
                    ),
                    headers={"Accept-Encoding": "identity"},
                ) as session,
                _get(session, target) as response,
            ):
                _check(response, url, host)
                yield Download(
                    response.content.iter_chunked(_CHUNK_BYTES),
                    response.content_length or 0,
                    response.content_type,
                    response.headers.get("Last-Modified", ""),
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            if guard.refused:
                reason = f"{guard.refused} is in a network that is not fetched from"
                raise PermissionDenied(url, reason) from error
            raise Unavailable(host, str(error) or "timed out") from error

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        async with self.open(url) as download:
            digest = hashlib.sha256()
            size = 0
            file = await obtain(None, os.close, _create, target)
            try:
                async for chunk in download.chunks:
                    size += len(chunk)
                    if size > limit_bytes:
                        raise ResourceExhausted("download", f"longer than {limit_bytes} bytes")
                    await run_blocking(None, _write, file, digest, chunk)
                await run_blocking(None, _set_time, file, download.changed)
            finally:
                os.close(file)
            return Downloaded(digest.hexdigest(), size, download.content_type)


def _parse(text: str) -> yarl.URL:
    try:
        url = yarl.URL(text)
    except ValueError as error:
        raise InvalidArgument("url", text, str(error)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgument("url", text, "is not one of HTTP")
    return url


@asynccontextmanager
async def _get(
    session: aiohttp.ClientSession, url: yarl.URL
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer behind all redirects, each by the proxy that the environment names for it.

    By hand: aiohttp's ``trust_env`` would also send the passwords of root's netrc file, for whoever asks.
    """
    for _ in range(_MAX_REDIRECTS):
        async with session.get(url, allow_redirects=False, proxy=_proxy_for(url)) as response:
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                yield response
                return
        try:
            url = _parse(str(url.join(yarl.URL(location))))
        except (InvalidArgument, ValueError) as error:
            raise Unavailable(url.host or "", f"redirects to {location}") from error
    raise Unavailable(url.host or "", f"more than {_MAX_REDIRECTS} redirects")


def _proxy_for(url: yarl.URL) -> str | None:
    if urllib.request.proxy_bypass(url.host or ""):
        return None
    return urllib.request.getproxies().get(url.scheme)


class _Guard:
    """Makes one download's sockets."""

    def __init__(self, denied: Networks) -> None:
        self._denied = denied
        self.refused = ""
        """The last address that was refused."""

    def socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Raises PermissionError for a denied address."""
        family, kind, protocol, _, place = info
        address = ip_address(str(place[0]).partition("%")[0])
        if not isinstance(address, IPv4Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_unspecified:  # the kernel takes it for itself
            address = _LOOPBACK[address.version]
        if any(address in network for network in self._denied):
            self.refused = str(address)
            raise PermissionError(errno.EACCES, "is not fetched from", str(address))
        return socket.socket(family, kind, protocol)


def _check(response: aiohttp.ClientResponse, url: str, host: str) -> None:
    if response.status < 400:
        return
    words = f"failed to GET {url} with status {response.status} {response.reason}"
    match response.status:
        case 404:
            raise NotFound("url", url)
        case 400:
            raise InvalidArgument("url", url, words)
        case 401:
            raise Unauthenticated(host, words)
        case 403:
            raise PermissionDenied(host, words)
    raise Unavailable(host, words)


def _create(target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write(file: int, digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("disk", "no space left for a download") from error
        raise Internal("download", error.strerror or str(error)) from error


def _set_time(file: int, text: str) -> None:
    """The server's word for when the file was changed, if it has one."""
    with contextlib.suppress(ValueError, TypeError):
        seconds = int(parsedate_to_datetime(text).timestamp())
        os.utime(file, (seconds, seconds))
