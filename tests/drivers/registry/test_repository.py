"""The client against real registries: TLS, basic and token authorization, pushes, mirrors."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sharedrt.drivers.content import FileContentStore
from sharedrt.drivers.registry import HttpRegistry
from sharedrt.drivers.registry.repository import HttpRepository
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from tests.drivers.registry.conftest import MADE
from tests.real.flaky_proxy import Rule, flaky_proxy
from tests.real.oci_images import sha256
from tests.real.registry import (
    PASSWORD,
    USER,
    Certificates,
    RegistryUnderTest,
    TokenServer,
    make_certificates,
    run,
    running_registry,
)

pytestmark = pytest.mark.real

GOOD = Credentials(USER, PASSWORD)
WRONG = Credentials(USER, "wrong")
LAYER = Descriptor(
    "application/vnd.oci.image.layer.v1.tar+gzip",
    Digest(sha256(MADE.layer_blobs[0])),
    len(MADE.layer_blobs[0]),
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[HttpRegistry]:
    registry = HttpRegistry([tmp_path / "certs.d"], stall_timeout_s=3.0)
    yield registry
    await registry.aclose()


@pytest.fixture
async def certificates(tmp_path: Path) -> Certificates:
    return await make_certificates(tmp_path / "tls")


def configure(root: Path, host: str, text: str) -> None:
    (root / "certs.d" / host).mkdir(parents=True, exist_ok=True)
    (root / "certs.d" / host / "hosts.toml").write_text(text)


def bytes_of(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return chunks


async def fetch_all(repository: HttpRepository, content: FileContentStore) -> None:
    """Everything of the image, through every reading call."""
    target = await repository.resolve("1")
    assert (target.digest, target.size) == (MADE.digest, len(MADE.manifest))
    assert await repository.manifest(target) == MADE.manifest
    assert await repository.resolve(MADE.digest) == target
    assert await repository.has_blob(LAYER.digest)
    assert not await repository.has_blob(Digest("sha256:" + "0" * 64))
    assert await repository.tags() == ["1"]
    async with content.ingest("x") as ingest:
        await repository.fetch_blob(LAYER, ingest)
        await ingest.commit(LAYER.digest, LAYER.size)


async def test_plain_http_on_loopback(
    client: HttpRegistry, open_registry: RegistryUnderTest, content: FileContentStore
) -> None:
    await fetch_all(client.repository(open_registry.authority, "team/deep/app", None), content)


async def test_tls_with_an_own_ca(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    async with running_registry(
        tmp_path / "tls-registry", storage=open_registry.storage, certificates=certificates
    ) as secure:
        # Of a registry on loopback the certificate is not checked, as in containerd.
        await fetch_all(client.repository(secure.authority, "app", None), content)
        server = f'server = "{secure.url}"'
        configure(tmp_path, "mine.example", server)
        strict = client.repository("mine.example", "app", None)
        with pytest.raises(Unavailable, match="certificate"):
            await strict.resolve("1")
        configure(tmp_path, "mine.example", f'{server}\nca = "{certificates.ca}"')
        await fetch_all(client.repository("mine.example", "app", None), content)
        configure(tmp_path, "mine.example", f"{server}\nskip_verify = true")
        await fetch_all(client.repository("mine.example", "app", None), content)
        # Docker's layout: a CA beside makes the certificate checked, on loopback, too.
        folder = tmp_path / "certs.d" / secure.authority
        folder.mkdir()
        (folder / "ca.crt").write_bytes(certificates.ca.read_bytes())
        await fetch_all(client.repository(secure.authority, "app", None), content)
        (folder / "ca.crt").write_bytes(b"no certificate")
        with pytest.raises(FailedPrecondition, match=r"ca\.crt"):
            await client.repository(secure.authority, "app", None).resolve("1")


async def test_client_certificates(
    client: HttpRegistry, certificates: Certificates, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/v2/app/tags/list", _tags)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        base = f'server = "{url}"\nca = "{certificates.ca}"\n'
        configure(tmp_path, "mine.example", base)
        with pytest.raises(Unavailable):
            await client.repository("mine.example", "app", None).tags()
        pair = f'client = [["{certificates.certificate}", "{certificates.key}"]]'
        configure(tmp_path, "mine.example", base + pair)
        assert await client.repository("mine.example", "app", None).tags() == ["1", "2"]
    finally:
        await runner.cleanup()


async def _tags(request: web.Request) -> web.Response:
    if "last" in request.query:
        return web.json_response({"tags": ["2"]})
    return web.json_response(
        {"tags": ["1"]}, headers={"Link": '</v2/app/tags/list?last=1>; rel="next"'}
    )


async def test_basic_authorization(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    tmp_path: Path,
) -> None:
    async with running_registry(
        tmp_path / "basic", storage=open_registry.storage, basic_auth=True
    ) as closed:
        await fetch_all(client.repository(closed.authority, "app", GOOD), content)
        for credentials in (None, WRONG):
            with pytest.raises(Unauthenticated) as caught:
                await client.repository(closed.authority, "app", credentials).resolve("1")
            assert "wrong" not in str(caught.value).replace("is wrong", "")
        foreign = Credentials(USER, PASSWORD, server_address="other.example")
        with pytest.raises(Unauthenticated):
            await client.repository(closed.authority, "app", foreign).resolve("1")
        address = f"http://{closed.authority}/v2/"
        assert await client.login(Credentials(USER, PASSWORD, server_address=address)) == ""
        with pytest.raises(Unauthenticated):
            await client.login(Credentials(USER, "wrong", server_address=closed.authority))


async def test_token_authorization(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    tmp_path: Path,
) -> None:
    async with (
        TokenServer(tmp_path, anonymous_pull=True).running() as tokens,
        running_registry(
            tmp_path / "token", storage=open_registry.storage, tokens=tokens
        ) as guarded,
    ):
        host = guarded.authority
        await fetch_all(client.repository(host, "app", None), content)
        # One token did for all of that.
        assert tokens.grants == [("GET", ("repository:app:pull",), "")]
        await fetch_all(client.repository(host, "app", GOOD), content)
        assert tokens.grants[1:] == [("GET", ("repository:app:pull",), USER)]

        writer = client.repository(host, "new", GOOD, push=True)
        assert await writer.push_blob(LAYER, bytes_of(MADE.layer_blobs[0]))
        assert "repository:new:pull,push" in tokens.grants[-1][1]
        with pytest.raises((Unauthenticated, PermissionDenied)):
            await client.repository(host, "new", None, push=True).push_blob(
                Descriptor("x", Digest(sha256(b"more")), 4), bytes_of(b"more")
            )
        with pytest.raises(Unauthenticated):
            await client.repository(host, "app", WRONG).resolve("1")

        address = f"http://{host}"
        token = await client.login(Credentials(USER, PASSWORD, server_address=address))
        assert token == tokens.refresh_token
        identity = Credentials(identity_token=token)
        await fetch_all(client.repository(host, "app", identity), content)
        assert tokens.grants[-1][0] == "POST"


async def test_an_expired_token_is_fetched_anew(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    tmp_path: Path,
) -> None:
    async with (
        TokenServer(tmp_path, anonymous_pull=True, life_s=1).running() as tokens,
        running_registry(
            tmp_path / "token", storage=open_registry.storage, tokens=tokens
        ) as guarded,
    ):
        repository = client.repository(guarded.authority, "app", None)
        await repository.resolve("1")
        await asyncio.sleep(1.1)
        await fetch_all(repository, content)
        assert len(tokens.grants) >= 2


async def test_push(
    client: HttpRegistry, open_registry: RegistryUnderTest, content: FileContentStore
) -> None:
    async with flaky_proxy(open_registry.url) as proxy:
        repository = client.repository(proxy.authority, "copy", None, push=True)
        told: list[int] = []
        config = Descriptor("x", Digest(MADE.id), len(MADE.config_blob))
        proxy.rules = [Rule("PUT .*/blobs/uploads", status=503)]
        assert await repository.push_blob(config, bytes_of(MADE.config_blob), progress=told.append)
        assert told[-1] == config.size
        assert not await repository.push_blob(config, bytes_of(MADE.config_blob))
        before = proxy.count("PUT")
        assert not await repository.push_blob(
            LAYER, bytes_of(MADE.layer_blobs[0]), mount_from="app"
        )
        assert proxy.count("PUT") == before
        digest = await repository.push_manifest("1", MADE.media_type, MADE.manifest)
        assert digest == MADE.digest
        await fetch_all(client.repository(open_registry.authority, "copy", None), content)


async def test_mirrors(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    tmp_path: Path,
) -> None:
    async with flaky_proxy(open_registry.url) as first, flaky_proxy(open_registry.url) as second:
        configure(
            tmp_path,
            "mine.example",
            f"""
            [host."http://{first.authority}"]
              capabilities = ["pull"]
              [host."http://{first.authority}".header]
                x-mark = "yes"
            [host."http://{second.authority}"]
              capabilities = ["pull", "resolve"]
            """,
        )
        repository = client.repository("mine.example", "app", GOOD)
        await fetch_all(repository, content)
        # A tag only where resolving is trusted, bytes from the first, and no mirror sees a secret.
        assert first.count("manifests/1$") == 0
        assert second.count("manifests/1$") == 1
        assert first.count(f"GET .*blobs/{LAYER.digest}") == 1
        assert {seen.query["ns"] for seen in (*first.seen, *second.seen)} == {"mine.example"}
        assert {seen.authorization for seen in (*first.seen, *second.seen)} == {""}

        first.rules = [Rule(".*", times=99, status=500)]
        await fetch_all(client.repository("mine.example", "app", None), content)
        with pytest.raises(NotFound):
            await client.repository("mine.example", "nope", None).resolve("1")
        server = f'server = "http://{first.authority}"\ncapabilities = ["pull"]'
        configure(tmp_path, "mine.example", server)
        reader = client.repository("mine.example", "x", None, push=True)
        with pytest.raises(FailedPrecondition, match="push"):
            await reader.push_manifest("1", "x", b"{}")


async def test_an_explicit_server_is_asked_after_a_mirrors_unknown(
    client: HttpRegistry, open_registry: RegistryUnderTest, tmp_path: Path
) -> None:
    async with running_registry(tmp_path / "empty") as empty:
        configure(
            tmp_path,
            "mine.example",
            f'server = "{open_registry.url}"\n[host."{empty.url}"]\n',
        )
        assert (await client.repository("mine.example", "app", None).resolve("1")).digest


async def test_secrets_do_not_follow_redirects(
    client: HttpRegistry,
    open_registry: RegistryUnderTest,
    content: FileContentStore,
    tmp_path: Path,
) -> None:
    async with (
        running_registry(
            tmp_path / "basic", storage=open_registry.storage, basic_auth=True
        ) as closed,
        flaky_proxy(closed.url) as front,
        flaky_proxy(open_registry.url) as elsewhere,
    ):
        location = f"http://{elsewhere.authority}/v2/app/blobs/{LAYER.digest}?sig=a%2Fb%20c"
        front.rules = [
            Rule(f"GET .*blobs/{LAYER.digest}", status=307, headers={"Location": location})
        ]
        repository = client.repository(front.authority, "app", GOOD)
        await repository.resolve("1")
        async with content.ingest("x") as ingest:
            await repository.fetch_blob(LAYER, ingest)
            await ingest.commit(LAYER.digest, LAYER.size)
        assert front.seen[-1].authorization.startswith("Basic ")
        assert [seen.authorization for seen in elsewhere.seen] == [""]
        assert elsewhere.seen[0].query == {"sig": "a/b c"}


async def test_manifests_are_bounded(
    client: HttpRegistry, open_registry: RegistryUnderTest
) -> None:
    async with flaky_proxy(open_registry.url) as proxy:
        proxy.rules = [Rule("manifests", times=9, status=200, body=b"x" * (5 << 20))]
        with pytest.raises(ResourceExhausted):
            await client.repository(proxy.authority, "app", None).resolve("1")


async def test_a_registry_without_head_and_digest_headers(
    client: HttpRegistry, open_registry: RegistryUnderTest
) -> None:
    async with flaky_proxy(open_registry.url) as proxy:
        proxy.rules = [Rule("HEAD .*manifests", times=9, status=405)]
        target = await client.repository(proxy.authority, "app", None).resolve("1")
        assert (target.digest, target.size) == (MADE.digest, len(MADE.manifest))


async def test_skopeo_reads_what_was_pushed(
    client: HttpRegistry, open_registry: RegistryUnderTest
) -> None:
    repository = client.repository(open_registry.authority, "pushed", None, push=True)
    for data, media_type in ((MADE.config_blob, ""), (MADE.layer_blobs[0], LAYER.media_type)):
        blob = Descriptor(media_type, Digest(sha256(data)), len(data))
        await repository.push_blob(blob, bytes_of(data))
    await repository.push_manifest("1", MADE.media_type, MADE.manifest)
    name = f"docker://{open_registry.authority}/pushed:1"
    out = await run("skopeo", "inspect", "--tls-verify=false", name)
    assert MADE.digest.encode() in out


async def test_words_of_a_refusal(client: HttpRegistry, open_registry: RegistryUnderTest) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "no such plan\\u0007"}]}'
    async with flaky_proxy(open_registry.url) as proxy:
        proxy.rules = [Rule("manifests", times=9, status=403, body=body)]
        with pytest.raises(PermissionDenied, match="DENIED: no such plan") as caught:
            await client.repository(proxy.authority, "app", None).resolve("1")
        assert proxy.authority in str(caught.value)


async def test_an_unknown_host_fails_fast(client: HttpRegistry) -> None:
    with pytest.raises(Unavailable, match=r"nowhere\.invalid"):
        await client.repository("nowhere.invalid", "app", None).resolve("1")


def test_credentials_do_not_show() -> None:
    shown = repr(Credentials(USER, PASSWORD, "identity", "token"))
    assert not any(secret in shown for secret in (PASSWORD, "identity", "token'"))
