"""HTTP client sessions by TLS settings, kept while they are used; and the proxy of the environment."""

import asyncio
import ssl
import urllib.request
from collections import OrderedDict
from pathlib import Path
from typing import Final

import aiohttp
import yarl

import sharedrt
from sharedrt.drivers.names import NameResolver
from sharedrt.drivers.registry.hosts import TlsSettings, is_loopback
from sharedrt.model.faults import FailedPrecondition

_MAX_SESSIONS: Final = 32
_READ_BUFFER_BYTES: Final = 1 << 18
USER_AGENT: Final = f"sharedrt/{sharedrt.__version__}"

_Key = tuple[TlsSettings, tuple[tuple[str, int], ...]]


class Connections:
    """Sessions, one per TLS settings; a changed certificate file gives a new one."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[_Key, aiohttp.ClientSession] = OrderedDict()
        self._making = asyncio.Lock()
        self.plain_http: set[str] = set()
        """Hosts (``host:port``) found not to speak TLS where both were allowed."""

    async def session(self, tls: TlsSettings) -> aiohttp.ClientSession:
        """Raises FailedPrecondition when a certificate file cannot be used; names it."""
        async with self._making:
            key = (tls, await asyncio.to_thread(_versions, tls))
            if (known := self._sessions.get(key)) is not None:
                self._sessions.move_to_end(key)
                return known
            context = await asyncio.to_thread(_context, tls)
            # No limit of connections here: waiting for one would count as connecting. Callers have theirs.
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0, resolver=NameResolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER_BYTES,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            )
            self._sessions[key] = session
            if len(self._sessions) > _MAX_SESSIONS:
                _, oldest = self._sessions.popitem(last=False)
                await oldest.close()
            return session

    async def aclose(self) -> None:
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()


def proxy_for(url: yarl.URL) -> str | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name; never one for loopback.

    aiohttp's own ``trust_env`` would also send passwords from a netrc file.
    """
    if is_loopback(url.authority) or urllib.request.proxy_bypass(url.host or ""):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _versions(tls: TlsSettings) -> tuple[tuple[str, int], ...]:
    files = [*tls.ca]
    for certificate, key in tls.client:
        files += [certificate] if key is None else [certificate, key]
    try:
        return tuple((str(file), file.stat().st_mtime_ns) for file in files)
    except OSError as error:
        raise _refused(Path(error.filename), error) from error


def _context(tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in tls.ca:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise _refused(file, error) from error
    for certificate, key in tls.client:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise _refused(certificate, error) from error
    return context


def _refused(file: Path, error: Exception) -> FailedPrecondition:
    return FailedPrecondition("registry certificate", str(file), f"cannot be used: {error}")
