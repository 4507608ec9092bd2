"""Debian's docker-registry on a free loopback port, plain or with TLS, open or with basic or token auth."""

import asyncio
import base64
import json
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
from aiohttp import web

USER, PASSWORD = "someone", "secret"
_HTPASSWD = "someone:$2y$05$hFeg0kCeEamZNTynAbSoN.R7QgvbgS71qrS.dai9ajXLmdaZfWTwu\n"
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Certificates:
    """A private CA, and a certificate for 127.0.0.1 and localhost."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class RegistryUnderTest:
    authority: str
    scheme: str
    storage: Path

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def run(*command: str | Path, data: bytes = b"") -> bytes:
    """A command's output; its words where it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(data)
    assert process.returncode == 0, f"{command}: {err.decode(errors='replace')}"
    return out


async def make_certificates(folder: Path) -> Certificates:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    certificate, key, request = folder / "server.crt", folder / "server.key", folder / "server.csr"
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    await run(
        "openssl", "req", "-x509", *ec, "-keyout", ca_key, "-out", ca, "-days", "2",
        "-subj", "/CN=test CA", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    await run("openssl", "req", *ec, "-keyout", key, "-out", request, "-subj", "/CN=registry")
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    await run(
        "openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
        "-out", certificate, "-days", "2", "-extfile", extensions,
    )  # fmt: skip
    return Certificates(ca, certificate, key)


class TokenServer:
    """Issues distribution's tokens (JWT, RS256). ``grants`` records (method, scopes, user) of each answer."""

    def __init__(self, folder: Path, *, anonymous_pull: bool, life_s: int = 300) -> None:
        self._folder = folder
        self._anonymous_pull = anonymous_pull
        self._life_s = life_s
        self._chain: list[str] = []
        self.port = free_port()
        self.grants: list[tuple[str, tuple[str, ...], str]] = []
        self.refresh_token = uuid.uuid4().hex

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    @property
    def bundle(self) -> Path:
        return self._folder / "token.crt"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TokenServer"]:
        await run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", self._folder / "token.key", "-out", self.bundle, "-subj", "/CN=tokens",
        )  # fmt: skip
        der = await run("openssl", "x509", "-in", self.bundle, "-outform", "DER")
        self._chain = [base64.b64encode(der).decode()]
        app = web.Application()
        app.router.add_get("/token", self._get)
        app.router.add_post("/token", self._post)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        scopes = tuple(request.query.getall("scope", []))
        header = request.headers.get("Authorization", "")
        user = ""
        if header:
            auth = aiohttp.BasicAuth.decode(header)
            if (auth.login, auth.password) != (USER, PASSWORD):
                return web.json_response({"details": "incorrect username or password"}, status=401)
            user = auth.login
        return await self._grant("GET", scopes, user, offline="offline_token" in request.query)

    async def _post(self, request: web.Request) -> web.Response:
        form = await request.post()
        by_refresh = form.get("refresh_token") == self.refresh_token
        if not by_refresh and form.get("password") != PASSWORD:
            return web.json_response({"error_description": "no"}, status=401)
        return await self._grant("POST", tuple(str(form["scope"]).split()), USER, offline=False)

    async def _grant(
        self, method: str, scopes: tuple[str, ...], user: str, *, offline: bool
    ) -> web.Response:
        self.grants.append((method, scopes, user))
        access = []
        for scope in scopes:
            kind, rest = scope.split(":", 1)
            name, actions = rest.rsplit(":", 1)
            allowed = actions.split(",") if user else ["pull"] if self._anonymous_pull else []
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": "test", "aud": "registry", "sub": user, "jti": uuid.uuid4().hex,
            "exp": now + self._life_s, "nbf": now - 5, "iat": now, "access": access,
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": self._chain}
        signed = b".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        key = self._folder / "token.key"
        signature = await run("openssl", "dgst", "-sha256", "-sign", key, data=signed)
        answer: dict[str, object] = {
            "token": f"{signed.decode()}.{_b64(signature).decode()}",
            "expires_in": self._life_s,
        }
        if offline:
            answer["refresh_token"] = self.refresh_token
        return web.json_response(answer)


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@asynccontextmanager
async def running_registry(
    folder: Path,
    *,
    storage: Path | None = None,
    certificates: Certificates | None = None,
    basic_auth: bool = False,
    tokens: TokenServer | None = None,
) -> AsyncIterator[RegistryUnderTest]:
    """A registry below ``folder``; two of one ``storage`` serve the same images."""
    storage = storage or folder / "storage"
    port = free_port()
    lines = [
        "version: 0.1",
        "log: {level: warn}",
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
        f"  secret: {uuid.uuid4().hex}",
    ]
    if certificates is not None:
        lines += [
            f"  tls: {{certificate: {certificates.certificate}, key: {certificates.key}}}",
        ]
    if basic_auth:
        lines += [f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}"]
    if tokens is not None:
        lines += [
            f"auth: {{token: {{realm: '{tokens.realm}', service: registry, issuer: test, "
            f"rootcertbundle: {tokens.bundle}}}}}",
        ]
    log = await asyncio.to_thread(_prepare, folder, "\n".join(lines) + "\n")
    with log:
        process = await asyncio.create_subprocess_exec(
            "docker-registry",
            "serve",
            str(folder / "config.yml"),
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        await _listening(port, process, folder / "log")
        scheme = "https" if certificates else "http"
        yield RegistryUnderTest(f"127.0.0.1:{port}", scheme, storage)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _prepare(folder: Path, config: str) -> IO[bytes]:
    """The files of a registry's folder; its log, open."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(_HTPASSWD)
    (folder / "config.yml").write_text(config)
    return open(folder / "log", "wb")


async def _listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise AssertionError(
        f"docker-registry did not come up: {await asyncio.to_thread(log.read_text)}"
    )
