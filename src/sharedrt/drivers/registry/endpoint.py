"""One host, one repository, one client's credentials: requests with authorization, retries and redirects."""

import asyncio
import errno
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import aiohttp
import yarl

from sharedrt.drivers.registry.answers import fault_of, words_of
from sharedrt.drivers.registry.auth import Authorizations, Scope
from sharedrt.drivers.registry.connections import Connections, proxy_for
from sharedrt.drivers.registry.hosts import RegistryHost
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import DeadlineExceeded, Unauthenticated, Unavailable

ATTEMPTS: Final = 4
_BACKOFF_S: Final = 0.25
_MAX_BACKOFF_S: Final = 4.0
_MAX_RETRY_AFTER_S: Final = 15.0
_MAX_REDIRECTS: Final = 10
_PROBE_TIMEOUT_S: Final = 5.0
_RETRIED: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Body = Callable[[], AsyncIterator[bytes]]


class Endpoint:
    """Requests to one repository at one host."""

    def __init__(
        self,
        host: RegistryHost,
        domain: str,
        path: str,
        credentials: Credentials | None,
        *,
        scopes: tuple[str, ...],
        connections: Connections,
        authorizations: Authorizations,
        stall_timeout_s: float,
    ) -> None:
        self.host, self.path = host, path
        self._domain, self._credentials = domain, credentials
        self._scopes = scopes
        self._connections, self._authorizations = connections, authorizations
        self.stall_timeout_s = stall_timeout_s

    @property
    def name(self) -> str:
        """``registry HOST``, as faults name it."""
        return f"registry {self.host.authority}"

    def url(self, resource: str, query: Mapping[str, str] | None = None) -> yarl.URL:
        """The URL of a resource below the repository (or of the API itself, for ``""``)."""
        path = f"{self.host.path}/{self.path}/{resource}" if resource else f"{self.host.path}/"
        url = yarl.URL.build(scheme=self._scheme, authority=self.host.authority, path=path)
        if query:
            url = url.extend_query(query)
        return url.extend_query(ns=self._domain) if self.host.mirror else url

    def url_of(self, path: str, query: Mapping[str, str]) -> yarl.URL:
        """The URL of a path that belongs to no repository."""
        url = yarl.URL.build(
            scheme=self._scheme, authority=self.host.authority, path=path, query=query
        )
        return url.extend_query(ns=self._domain) if self.host.mirror else url

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: yarl.URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        length: int | None = None,
        attempts: int = ATTEMPTS,
        scopes: tuple[str, ...] | None = None,
        authorize: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and again where that may help; the open response, whatever its status.

        Args:
            body: called anew for each attempt; ``length`` bytes long.
            attempts: 1 where another host is at hand.
            scopes: beyond reading and writing this repository, for a mount.
            authorize: whether to answer a 401, or leave that to the caller.

        Raises:
            Unavailable, DeadlineExceeded, Unauthenticated: naming the host.
        """
        reauthorized = not authorize
        attempt = 0
        while True:
            attempt += 1
            if url.authority == self.host.authority and url.scheme != self._scheme:
                url = url.with_scheme(self._scheme)  # found out since the URL was made
            last = attempt >= attempts
            scope = Scope(self.origin, scopes or self._scopes, self._credentials)
            header = self._authorizations.header(scope)
            try:
                response = await self._send(method, url, headers, body, length, header)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if url.scheme == "https" and self._knows_no_tls(error):
                    self._connections.plain_http.add(self.host.authority)
                    attempt -= 1
                    continue
                if last or not _may_pass(error):
                    self.fail(error)
                await asyncio.sleep(_backoff_s(attempt))
                continue
            if response.status == 401 and not reauthorized and self._is_own(response.url):
                challenges = response.headers.getall("WWW-Authenticate", [])
                reauthorized = True
                response.release()
                session = await self._connections.session(self.host.tls)
                await self._authorizations.answer(scope, challenges, session, header)
                attempt -= 1
                continue
            if response.status in _RETRIED and not last:
                delay_s = _retry_after_s(response) or _backoff_s(attempt)
                response.release()
                await asyncio.sleep(delay_s)
                continue
            try:
                yield response
            finally:
                response.close() if _has_rest(response) else response.release()
            return

    async def check(self, response: aiohttp.ClientResponse, kind: str, name: str) -> None:
        """Raise the fault of a status that is no success."""
        if response.status < 300:
            return
        words = await words_of(response)
        if response.status == 401 and self._credentials is None:
            raise Unauthenticated(
                self.name, f"{words}; the repository may not exist or may require a login"
            )
        if response.status < 400:
            raise Unavailable(self.name, f"unexpected answer {words}")
        raise fault_of(response.status, words, self.host.authority, kind, name)

    def fail(self, error: Exception) -> NoReturn:
        """Raise the fault of a broken connection."""
        if isinstance(error, TimeoutError) and not isinstance(
            error, aiohttp.ConnectionTimeoutError
        ):
            raise DeadlineExceeded(self.name, self.stall_timeout_s) from error
        raise Unavailable(self.name, _reason(error)) from error

    @property
    def origin(self) -> str:
        """``scheme://host[:port]`` as it is spoken to."""
        return f"{self._scheme}://{self.host.authority}"

    @property
    def _scheme(self) -> str:
        plain = self.host.authority in self._connections.plain_http
        return "http" if plain and self.host.http_fallback else self.host.scheme

    async def _send(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str] | None,
        body: Body | None,
        length: int | None,
        authorization: str | None,
    ) -> aiohttp.ClientResponse:
        """One attempt, following redirects of reading requests; secrets go to the configured host alone."""
        session = await self._connections.session(self.host.tls)
        for _ in range(_MAX_REDIRECTS):
            sent = dict(headers or {})
            if self._is_own(url):
                sent |= {name: ", ".join(values) for name, values in self.host.header.items()}
                if authorization is not None:
                    sent["Authorization"] = authorization
            if length is not None:
                sent["Content-Length"] = str(length)
            response = await session.request(
                method,
                url,
                headers=sent,
                data=body() if body is not None else None,
                allow_redirects=False,
                timeout=self._timeout(url),
                proxy=proxy_for(url),
            )
            location = response.headers.get("Location", "")
            if method not in ("GET", "HEAD") or response.status not in _REDIRECTS or not location:
                return response
            response.release()
            url = self._redirected(url, location)
        raise Unavailable(self.name, f"more than {_MAX_REDIRECTS} redirects")

    def _redirected(self, url: yarl.URL, location: str) -> yarl.URL:
        """The next URL, as it was written: signatures cover its exact encoding."""
        try:
            target = url.join(yarl.URL(location, encoded=True))
        except ValueError as error:
            raise Unavailable(self.name, "redirects to a malformed URL") from error
        if target.scheme not in ("http", "https") or not target.host:
            raise Unavailable(self.name, f"redirects to a URL of scheme {target.scheme!r}")
        if url.scheme == "https" and target.scheme == "http" and not self.host.tls.skip_verify:
            raise Unavailable(self.name, f"redirects from HTTPS to plain HTTP at {target.host}")
        return target

    def _is_own(self, url: yarl.URL) -> bool:
        return url.origin() == yarl.URL(self.origin).origin()

    def _timeout(self, url: yarl.URL) -> aiohttp.ClientTimeout:
        connect_s = self.host.dial_timeout_s
        if self.host.http_fallback and url.scheme == "https":
            connect_s = min(connect_s, _PROBE_TIMEOUT_S)
        return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=self.stall_timeout_s)

    def _knows_no_tls(self, error: Exception) -> bool:
        """Whether the host, tried over HTTPS, may be spoken to without, and seems not to know TLS."""
        if not self.host.http_fallback:
            return False
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return False
        if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
            unreachable = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}
            return error.os_error.errno not in unreachable
        return isinstance(
            error,
            aiohttp.ClientSSLError
            | aiohttp.ServerDisconnectedError
            | aiohttp.ConnectionTimeoutError
            | ConnectionResetError,
        )


def _may_pass(error: Exception) -> bool:
    """Whether trying again could help: not for unknown names, bad certificates or a stalled server."""
    if isinstance(
        error, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError | aiohttp.InvalidURL
    ):
        return False
    return not isinstance(error, TimeoutError)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__


def _backoff_s(attempt: int) -> float:
    longest = min(_BACKOFF_S * 2.0 ** (attempt - 1), _MAX_BACKOFF_S)
    return longest * random.uniform(0.75, 1.0)


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isdecimal() else 0.0


def _has_rest(response: aiohttp.ClientResponse) -> bool:
    """Whether the connection cannot be used again, since the body was not read to its end."""
    return response.method != "HEAD" and not response.content.at_eof()
