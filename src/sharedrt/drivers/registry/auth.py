"""Authorization: Basic, and Bearer tokens (distribution's "Token Authentication" and its OAuth2 form).

A token is kept per host, scope and credentials until shortly before it ends. Secrets go to the host that
asked for them and to the token server that it names, never into a log or an error.
"""

import asyncio
import base64
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import yarl

from sharedrt.aio.locks import KeyedLocks
from sharedrt.drivers.registry.answers import read_all, words_of
from sharedrt.drivers.registry.challenge import Challenge, parse_challenges
from sharedrt.drivers.registry.connections import proxy_for
from sharedrt.drivers.registry.hosts import is_loopback
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import Unauthenticated, Unavailable, Unimplemented

_MAX_TOKENS: Final = 4096
_MAX_ANSWER_BYTES: Final = 1 << 20
_DEFAULT_LIFE_S: Final = 60.0
_LONGEST_LIFE_S: Final = 1e9
_MARGIN_S: Final = 10.0
_FOREVER: Final = float("inf")
CLIENT_ID: Final = "sharedrt"
_TOKEN_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked for, where, as whom: the key under which an authorization is kept."""

    origin: str
    """``https://host:port`` that the authorization is for."""
    scopes: tuple[str, ...]
    """``repository:NAME:pull,push``, sorted."""
    credentials: Credentials | None


@dataclass(frozen=True, slots=True)
class _Grant:
    header: str
    ends: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token server's answer."""

    access: str
    life_s: float
    refresh: str = ""


class Authorizations:
    """What has been granted so far, for all registries."""

    def __init__(self) -> None:
        self._grants: OrderedDict[Scope, _Grant] = OrderedDict()
        self._locks = KeyedLocks()

    def header(self, scope: Scope) -> str | None:
        """The Authorization header to send, if one is known to be wanted and still valid."""
        grant = self._grants.get(scope)
        if grant is not None and grant.ends > time.monotonic():
            self._grants.move_to_end(scope)
            return grant.header
        if scope.credentials is not None and scope.credentials.registry_token:
            return f"Bearer {scope.credentials.registry_token}"
        return None

    async def answer(
        self,
        scope: Scope,
        challenges: Sequence[str],
        session: aiohttp.ClientSession,
        refused: str | None,
    ) -> str:
        """Answer a 401; the header to try with.

        Args:
            challenges: the WWW-Authenticate lines.
            refused: the header that was refused, so that a grant made meanwhile is used as it is.

        Raises:
            Unauthenticated: no credentials, or they are refused. Unavailable: the token server is.
        """
        async with self._locks.hold(scope):
            current = self.header(scope)
            if current is not None and current != refused:
                return current
            self._grants.pop(scope, None)
            grant = await self._obtain(scope, parse_challenges(challenges), session, refused)
            self._grants[scope] = grant
            if len(self._grants) > _MAX_TOKENS:
                self._grants.popitem(last=False)
            return grant.header

    async def _obtain(
        self,
        scope: Scope,
        challenges: Sequence[Challenge],
        session: aiohttp.ClientSession,
        refused: str | None,
    ) -> _Grant:
        credentials = scope.credentials
        host = yarl.URL(scope.origin).authority
        for challenge in challenges:
            if challenge.scheme == "bearer":
                token = await fetch_token(
                    challenge, scope.origin, scope.scopes, credentials, session
                )
                margin = min(_MARGIN_S, token.life_s / 2)
                return _Grant(f"Bearer {token.access}", time.monotonic() + token.life_s - margin)
            if challenge.scheme == "basic":
                if credentials is None or not (credentials.username or credentials.password):
                    raise Unauthenticated(f"registry {host}", "it asks for a user and a password")
                header = basic(credentials)
                if header == refused:
                    raise Unauthenticated(f"registry {host}", "user or password is wrong")
                return _Grant(header, _FOREVER)
        if challenges:
            raise Unimplemented(f"authentication scheme {challenges[0].scheme} of registry {host}")
        raise Unauthenticated(f"registry {host}", "access denied")


def basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


async def fetch_token(
    challenge: Challenge,
    origin: str,
    scopes: Sequence[str],
    credentials: Credentials | None,
    session: aiohttp.ClientSession,
    *,
    offline: bool = False,
) -> Token:
    """Get a bearer token: by GET, anonymously or with a password; by POST with a refresh token, or where the
    server takes nothing else.

    Args:
        offline: ask for a refresh token, too (for ``login``).

    Raises:
        Unauthenticated, Unavailable.
    """
    realm = _realm(challenge, origin)
    service = challenge.parameters.get("service", "")
    wanted = _wanted(scopes, challenge)
    if credentials is not None and credentials.identity_token:
        return await _post(realm, service, wanted, credentials, session, offline=offline)
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in wanted]
    headers = {}
    if credentials is not None and (credentials.username or credentials.password):
        headers["Authorization"] = basic(credentials)
        query.append(("account", credentials.username))
        if offline:
            query += [("offline_token", "true"), ("client_id", CLIENT_ID)]
    url = realm.extend_query(query)
    status, document, words = await _ask(session, "GET", url, headers=headers)
    if status in (404, 405) and headers and credentials is not None:
        return await _post(realm, service, wanted, credentials, session, offline=offline)
    return _token(realm, status, document, words)


def _wanted(scopes: Sequence[str], challenge: Challenge) -> list[str]:
    """The registry's own word for the scope, since a mirror may keep a repository under another name; for a
    push ours as well, which the challenge to the first, reading request does not have."""
    asked = challenge.parameters.get("scope", "").split()
    more = [scope for scope in scopes if not asked or not scope.endswith(":pull")]
    return asked + [scope for scope in more if scope not in asked]


async def _post(
    realm: yarl.URL,
    service: str,
    scopes: Sequence[str],
    credentials: Credentials,
    session: aiohttp.ClientSession,
    *,
    offline: bool,
) -> Token:
    form = {"client_id": CLIENT_ID, "service": service, "scope": " ".join(scopes)}
    if credentials.identity_token:
        form |= {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
    else:
        form |= {
            "grant_type": "password",
            "username": credentials.username,
            "password": credentials.password,
        }
    if offline:
        form["access_type"] = "offline"
    status, document, words = await _ask(session, "POST", realm, form=form)
    return _token(realm, status, document, words)


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: yarl.URL,
    *,
    headers: dict[str, str] | None = None,
    form: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any], str]:
    """Status, JSON document and the server's words. Redirects are not followed: they carry secrets."""
    what = f"token server {url.authority}"
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=form,
                allow_redirects=False,
                timeout=_TOKEN_TIMEOUT,
                proxy=proxy_for(url),
            ) as response:
                if response.status >= 400:
                    if (response.status >= 500 or response.status == 429) and not last:
                        await asyncio.sleep(0.25 * 2**attempt)
                        continue
                    return response.status, {}, await words_of(response)
                body = await read_all(response, _MAX_ANSWER_BYTES)
                document = json.loads(body)
                if response.status != 200 or not isinstance(document, dict):
                    raise Unavailable(what, f"answers {response.status}, and no token")
                return response.status, document, ""
        except (ValueError, RecursionError) as error:
            raise Unavailable(what, "answers no JSON") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if last:
                raise Unavailable(what, str(error) or type(error).__name__) from error
            await asyncio.sleep(0.25 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _token(realm: yarl.URL, status: int, document: dict[str, Any], words: str) -> Token:
    what = f"token server {realm.authority}"
    if status in (400, 401, 403):
        raise Unauthenticated(what, words)
    if status >= 400:
        raise Unavailable(what, words)
    access = document.get("token") or document.get("access_token")
    if not isinstance(access, str) or not access or not access.isprintable():
        raise Unavailable(what, "its answer has no token")
    life = document.get("expires_in")
    life_s = _DEFAULT_LIFE_S
    if isinstance(life, int | float) and life > 0:
        life_s = float(min(life, _LONGEST_LIFE_S))
    refresh = document.get("refresh_token")
    return Token(access, life_s, refresh if isinstance(refresh, str) else "")


def _realm(challenge: Challenge, origin: str) -> yarl.URL:
    """The token server's URL: not one in the clear, unless the registry itself is spoken to so."""
    text = challenge.parameters.get("realm", "")
    host = yarl.URL(origin).authority
    try:
        realm = yarl.URL(text)
    except ValueError as error:
        raise Unavailable(f"registry {host}", "names a malformed token server") from error
    if realm.scheme not in ("http", "https") or not realm.host:
        raise Unavailable(f"registry {host}", "names no token server")
    if realm.scheme == "http" and origin.startswith("https:") and not is_loopback(realm.authority):
        raise Unavailable(f"registry {host}", "names a token server without TLS")
    return realm
