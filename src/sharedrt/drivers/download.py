"""Files from HTTP servers (:class:`sharedrt.model.drivers.Downloader`)."""

import contextlib
import errno
import hashlib
import os
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from sharedrt.aio.completion import run_blocking
from sharedrt.model.drivers import Downloaded
from sharedrt.model.faults import (
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_CHUNK_BYTES: Final = 1 << 20
_CONNECT_TIMEOUT_S: Final = 30.0


class HttpDownloader:
    """Implements Downloader.

    Args:
        stall_timeout_s: how long no byte may come.
    """

    def __init__(self, *, stall_timeout_s: float = 60.0) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=stall_timeout_s
        )

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        host = urlsplit(url).hostname or ""
        if urlsplit(url).scheme not in ("http", "https") or not host:
            raise InvalidArgument("url", url, "is not one of HTTP")
        try:
            async with (
                # The file as it lies there, not as a server may pack it for the way.
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    trust_env=True,
                    auto_decompress=False,
                    headers={"Accept-Encoding": "identity"},
                ) as session,
                session.get(url) as response,
            ):
                if response.status == 404:
                    raise NotFound("url", url)
                if response.status >= 400:
                    raise Unavailable(host, f"{url} answered {response.status} {response.reason}")
                return await self._save(response, target, limit_bytes)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(host, str(error) or "timed out") from error

    async def _save(
        self, response: aiohttp.ClientResponse, target: Path, limit_bytes: int
    ) -> Downloaded:
        digest = hashlib.sha256()
        size = 0
        file = await run_blocking(None, _create, target)
        try:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    raise ResourceExhausted("download", f"longer than {limit_bytes} bytes")
                await run_blocking(None, _write, file, digest, chunk)
            await run_blocking(None, _set_time, file, response.headers.get("Last-Modified", ""))
        finally:
            os.close(file)
        return Downloaded(digest.hexdigest(), size, response.content_type)


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
