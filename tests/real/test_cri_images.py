"""ImageService over a grpclib client: pull secrets, private CAs, mirrors, joined and given up pulls, names, removal."""

import asyncio
import re
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.flaky_proxy import FlakyProxy, Rule, flaky_proxy
from tests.real.kept import kept
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest, sha256
from tests.real.registry import (
    PASSWORD,
    USER,
    TokenServer,
    make_certificates,
    running_registry,
)
from tests.real.test_cri import pod, secured
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

MADE = MadeImage(
    [layer_tar({"bin/tool": bytes(range(256)) * 900}), layer_tar({"etc/x": b"1"})],
    config={"User": "1000:1000"},
)
OTHER = MadeImage([layer_tar({"etc/other": b"2"})], config={"User": "someone"})
PINNED = "pinned.example/*"


@dataclass(frozen=True)
class Registries:
    """One storage, served in the open through a proxy, with basic and with token authorization, both over TLS."""

    proxy: FlakyProxy
    url: str
    basic: str
    token: str
    tokens: TokenServer
    ca: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registries(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registries]:
    folder = tmp_path_factory.mktemp("registries")
    certificates = await make_certificates(folder / "tls")
    async with (
        running_registry(folder / "open") as opened,
        flaky_proxy(opened.url) as proxy,
        TokenServer(folder, anonymous_pull=False).running() as tokens,
        running_registry(
            folder / "basic", storage=opened.storage, certificates=certificates, basic_auth=True
        ) as basic,
        running_registry(
            folder / "token", storage=opened.storage, certificates=certificates, tokens=tokens
        ) as token,
    ):
        await publish(opened.url, "app", "1", MADE)
        await publish(opened.url, "app", "2", OTHER)
        await publish(opened.url, "app", "moving", MADE)
        media_type, data = index_of([MADE])
        await put_manifest(opened.url, "app", "index", media_type, data)
        yield Registries(proxy, opened.url, basic.url, token.url, tokens, certificates.ca)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(busybox_archive: Path, registries: Registries) -> AsyncIterator[DaemonUnderTest]:
    """Knows the registries as ``basic.example`` and ``token.example``, by a private CA."""
    settings: dict[str, dict[str, object]] = {
        "registry": {"stall_timeout_s": 1.5},
        "cri": {"pinned_images": [PINNED]},
    }
    async with running_daemon(settings) as running:
        await running.cli("-n", "k8s.io", "images", "import", str(busybox_archive))
        ca = f'ca = "{registries.ca}"'
        configure(running, "basic.example", f'server = "{registries.basic}"\n{ca}')
        configure(running, "token.example", f'server = "{registries.token}"\n{ca}')
        yield running


@pytest.fixture(autouse=True)
def _honest_proxy(registries: Registries) -> None:
    registries.proxy.rules = []
    registries.proxy.seen.clear()
    registries.proxy.blob_delay_s = 0.0


def configure(daemon: DaemonUnderTest, host: str, text: str) -> None:
    folder = daemon.certs_d / host
    folder.mkdir(exist_ok=True)
    (folder / "hosts.toml").write_text(text)


async def pull(
    cri: CriClient, image: str, auth: pb.AuthConfig | None = None, timeout_s: float | None = None
) -> str:
    request = pb.PullImageRequest(image=pb.ImageSpec(image=image), auth=auth or pb.AuthConfig())
    return (await cri.images.pull_image(request, timeout=timeout_s)).image_ref


async def status(cri: CriClient, name: str) -> pb.Image:
    request = pb.ImageStatusRequest(image=pb.ImageSpec(image=name))
    return (await cri.images.image_status(request)).image


async def remove(cri: CriClient, name: str) -> None:
    await cri.images.remove_image(pb.RemoveImageRequest(image=pb.ImageSpec(image=name)))


async def listed(cri: CriClient) -> list[pb.Image]:
    """All, as ListImages and StreamImages agree to have them."""
    images = (await cri.images.list_images(pb.ListImagesRequest())).images
    streamed = [
        image
        async for reply in cri.images.stream_images(pb.StreamImagesRequest())
        for image in reply.images
    ]
    assert streamed == images
    return images


async def raised(call: Awaitable[object]) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await call
    assert "\n" not in str(caught.value.message)
    return caught.value


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


# ---------------------------------------------------------------- secrets


async def bearer(registries: Registries) -> str:
    """A token for pulling ``app``, as a kubelet's credential provider may hand one over."""
    headers = {"Authorization": f"Basic {encoded(f'{USER}:{PASSWORD}')}"}
    scope = {"scope": "repository:app:pull"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(registries.tokens.realm, params=scope) as answer,
    ):
        return str((await answer.json())["token"])


def secret_forms(host: str, token: str, refresh: str) -> dict[str, pb.AuthConfig]:
    """Every form in which AuthConfig carries one."""
    pair = encoded(f"{USER}:{PASSWORD}")
    return {
        "password": pb.AuthConfig(username=USER, password=PASSWORD),
        "pair": pb.AuthConfig(auth=pair),
        "addressed": pb.AuthConfig(auth=pair, server_address=f"https://{host}/v2/"),
        "identity": pb.AuthConfig(identity_token=refresh),
        "registry": pb.AuthConfig(registry_token=token),
    }


async def test_each_form_of_a_pull_secret(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """Against registries that ask for it, over TLS of a private CA; and none of it is written anywhere."""
    before = kept(daemon)
    tokens = registries.tokens
    token = await bearer(registries)
    for host, names in (
        ("basic.example", ("password", "pair", "addressed")),
        ("token.example", ("password", "pair", "addressed", "identity", "registry")),
    ):
        forms = secret_forms(host, token, tokens.refresh_token)
        for name in names:
            tokens.grants.clear()
            assert await pull(cri, f"{host}/app:1", forms[name]) == MADE.id, (host, name)
            if host == "token.example" and name in ("identity", "registry"):
                asked = [method for method, _, _ in tokens.grants]
                assert asked == (["POST"] if name == "identity" else [])
            await remove(cri, f"{host}/app:1")
    assert kept(daemon) == before

    wrong = f"wrong-{uuid.uuid4().hex}"
    refused = {
        "none": (pb.AuthConfig(), Status.UNAUTHENTICATED),
        "password": (pb.AuthConfig(username=USER, password=wrong), Status.UNAUTHENTICATED),
        "pair": (pb.AuthConfig(auth=encoded(f"{USER}:{wrong}")), Status.UNAUTHENTICATED),
        "identity": (pb.AuthConfig(identity_token=wrong), Status.UNAUTHENTICATED),
        "registry": (pb.AuthConfig(registry_token=wrong), Status.UNAUTHENTICATED),
        "elsewhere": (
            pb.AuthConfig(username=USER, password=PASSWORD, server_address="other.example"),
            Status.UNAUTHENTICATED,
        ),
        "malformed": (pb.AuthConfig(auth=wrong), Status.INVALID_ARGUMENT),
    }
    for host in ("basic.example", "token.example"):
        for name, (auth, expected) in refused.items():
            error = await raised(pull(cri, f"{host}/app:1", auth))
            assert error.status is expected, (host, name, error)
            assert wrong not in str(error.message)
            assert "127.0.0.1:" in str(error.message) or name == "malformed", (
                "the host that refused"
            )
    assert kept(daemon) == before
    secrets = (wrong, encoded(f"{USER}:{wrong}"), encoded(f"{USER}:{PASSWORD}"))
    assert written(daemon, *secrets, token, tokens.refresh_token, f'"{PASSWORD}"') == []


def written(daemon: DaemonUnderTest, *secrets: str) -> list[str]:
    """Files of the daemon, its log and its database among them, that have one of ``secrets`` in them."""
    found = []
    for path in daemon.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [str(path) for secret in secrets if secret.encode() in data]
    assert any(path.name == "sharedrt.db-wal" for path in daemon.root.rglob("*"))
    return found


async def test_a_private_ca_must_be_configured(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    auth = pb.AuthConfig(username=USER, password=PASSWORD)
    configure(daemon, "private.example", f'server = "{registries.basic}"')
    error = await raised(pull(cri, "private.example/app:1", auth))
    assert error.status is Status.UNAVAILABLE
    assert "certificate" in str(error.message)
    ca = daemon.certs_d / "private.example" / "own.crt"
    ca.write_bytes(registries.ca.read_bytes())
    # Its path counts from the file's own folder, and a change needs no restart.
    configure(daemon, "private.example", f'server = "{registries.basic}"\nca = "own.crt"')
    assert await pull(cri, "private.example/app:1", auth) == MADE.id
    await remove(cri, "private.example/app:1")


async def test_a_malformed_hosts_file_is_named(daemon: DaemonUnderTest, cri: CriClient) -> None:
    for text in ("server = ", "sever = 1", '[host."ftp://x"]', 'ca = "none.crt"'):
        configure(daemon, "malformed.example", text)
        error = await raised(pull(cri, "malformed.example/app:1"))
        assert error.status is Status.FAILED_PRECONDITION, text
        assert str(daemon.certs_d / "malformed.example") in str(error.message)
        assert "malformed.example/app:1" in daemon.log()


async def test_mirrors_and_the_catch_all(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """An image keeps its own name, a mirror gets no secret, and its 'unknown' is final."""
    mirror = f'[host."http://{registries.proxy.authority}"]\ncapabilities = ["pull", "resolve"]'
    secret = pb.AuthConfig(username=USER, password=PASSWORD)
    for folder, host in (("mirrored.example", "mirrored.example"), ("_default", "any.example")):
        configure(daemon, folder, mirror)
        registries.proxy.seen.clear()
        assert await pull(cri, f"{host}/app:1", secret) == MADE.id
        image = await status(cri, f"{host}/app:1")
        assert image.repo_tags == [f"{host}/app:1"]
        assert image.repo_digests == [f"{host}/app@{MADE.digest}"]
        assert {seen.query["ns"] for seen in registries.proxy.seen} == {host}
        assert {seen.authorization for seen in registries.proxy.seen} == {""}
        error = await raised(pull(cri, f"{host}/nope:1"))
        assert (error.status, f"{host}/nope:1" in str(error.message)) == (Status.NOT_FOUND, True)
        await remove(cri, f"{host}/app:1")
    (daemon.certs_d / "_default" / "hosts.toml").unlink()


# ---------------------------------------------------------------- names


async def test_names_ids_and_digests(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """As crictl shows and asks for them: one line an image, by id; all names with it."""
    name = f"{registries.proxy.authority}/app"
    digest = f"{name}@{MADE.digest}"
    assert await pull(cri, f"{name}:1") == MADE.id
    image = await status(cri, f"{name}:1")
    assert (image.id, image.repo_tags, image.repo_digests) == (MADE.id, [f"{name}:1"], [digest])
    assert image.uid.value == 1000
    assert image.username == ""
    assert image.size == len(MADE.manifest) + sum(map(len, MADE.blobs))
    for other in (digest, f"{name}:1@{MADE.digest}", MADE.id, MADE.id[7:], MADE.id[7:20]):
        assert await status(cri, other) == image, other
        request = pb.ListImagesRequest(filter=pb.ImageFilter(image=pb.ImageSpec(image=other)))
        assert (await cri.images.list_images(request)).images == [image]
    # By digest, and by tag and digest, it is the same image without the tag.
    await remove(cri, MADE.id)
    for asked in (digest, f"{name}:1@{MADE.digest}"):
        assert await pull(cri, asked) == MADE.id
        image = await status(cri, asked)
        assert (image.repo_tags, image.repo_digests) == ([], [digest])
        assert (await status(cri, f"{name}:1")).id == ""
        await remove(cri, asked)
    # An index has a digest of its own.
    assert await pull(cri, f"{name}:index") == MADE.id
    index = sha256(index_of([MADE])[1])
    assert (await status(cri, MADE.id)).repo_digests == [f"{name}@{index}"]
    # Two tags of one image are one line.
    assert await pull(cri, f"{name}:1") == MADE.id
    (image,) = [image for image in await listed(cri) if image.id == MADE.id]
    assert image.repo_tags == [f"{name}:1", f"{name}:index"]
    assert image.repo_digests == sorted([f"{name}@{index}", digest])
    # A tag that has moved leaves the image its digest.
    assert await pull(cri, f"{name}:2") == OTHER.id
    assert (await status(cri, OTHER.id)).username == "someone"
    assert (await status(cri, OTHER.id)).uid.value == 0
    await remove(cri, OTHER.id)
    assert await pull(cri, f"{name}:moving") == MADE.id
    await put_manifest(registries.url, "app", "moving", OTHER.media_type, OTHER.manifest)
    assert await pull(cri, f"{name}:moving") == OTHER.id
    assert f"{name}:moving" not in (await status(cri, MADE.id)).repo_tags
    await put_manifest(registries.url, "app", "moving", MADE.media_type, MADE.manifest)
    # A container says which image it has by the name asked for, and by id and digest.
    async with pod(cri, "named") as (id, config):
        spec = pb.ImageSpec(image=MADE.id, user_specified_image=f"{name}:1")
        container = await cri.create(id, config, "c", ["x"], image=spec, linux=secured())
        shown = await cri.status(container)
        assert shown.image_id == MADE.id
        assert shown.image.user_specified_image == f"{name}:1"
        assert shown.image_ref in (MADE.id, digest, f"{name}@{index}")
        assert (await status(cri, shown.image.image)).id == MADE.id
    await remove(cri, MADE.id)
    await remove(cri, OTHER.id)


async def test_removal(daemon: DaemonUnderTest, cri: CriClient, registries: Registries) -> None:
    """By id or any name, of all names at once; idempotent; refused while a container needs the image."""
    before = kept(daemon)
    name = f"{registries.proxy.authority}/app"
    for ref in (f"{name}:1", MADE.id, f"{name}@{MADE.digest}", MADE.id[7:19]):
        await pull(cri, f"{name}:1")
        await pull(cri, f"{name}:moving")
        await asyncio.gather(*(remove(cri, ref) for _ in range(4)))
        await remove(cri, ref)
        assert (await status(cri, MADE.id)).id == ""
        assert kept(daemon) == before
    await pull(cri, f"{name}:1")
    await pull(cri, f"{name}:2")
    async with pod(cri, "needs") as (id, config):
        made = pb.ImageSpec(image=f"{name}:1")
        first = await cri.create(id, config, "made-from-it", ["x"], image=made, linux=secured())
        volume = pb.Mount(
            container_path="/img", image=pb.ImageSpec(image=f"{name}:2"), readonly=True
        )
        second = await cri.create(
            id, config, "has-it-mounted", ["true"], mounts=[volume], linux=secured()
        )
        for ref, user in ((f"{name}:1", first), (MADE.id, first), (f"{name}:2", second)):
            error = await raised(remove(cri, ref))
            assert error.status is Status.FAILED_PRECONDITION
            assert user[:12] in str(error.message)
        assert len((await status(cri, MADE.id)).repo_tags) == 1, "a refusal takes no name away"
        await cri.runtime.remove_container(pb.RemoveContainerRequest(container_id=first))
        await remove(cri, f"{name}:1")
    await remove(cri, f"{name}:2")
    assert kept(daemon) == before


async def test_pinned_images(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """By the configuration's patterns, and by the label that ``ctr`` sets."""
    mirror = f'[host."http://{registries.proxy.authority}"]\ncapabilities = ["pull", "resolve"]'
    configure(daemon, "pinned.example", mirror)
    name = f"{registries.proxy.authority}/app:2"
    await pull(cri, "pinned.example/app:1")
    await pull(cri, name)

    async def pinned() -> set[str]:
        return {image.id for image in await listed(cri) if image.pinned}

    assert await pinned() == {MADE.id}
    assert (await status(cri, "pinned.example/app:1")).pinned
    await daemon.ctr("-n", "k8s.io", "images", "label", name, "io.cri-containerd.pinned=pinned")
    assert await pinned() == {MADE.id, OTHER.id}
    await daemon.restart()
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as again:
        assert {image.id for image in await listed(again) if image.pinned} == {MADE.id, OTHER.id}
        await remove(again, "pinned.example/app:1")
        await remove(again, name)


# ---------------------------------------------------------------- pulls that go together, and that end


async def test_equal_pulls_are_joined(cri: CriClient, registries: Registries) -> None:
    registries.proxy.blob_delay_s = 0.3
    name = f"{registries.proxy.authority}/app:1"
    assert await asyncio.gather(*(pull(cri, name) for _ in range(20))) == [MADE.id] * 20
    for blob in MADE.blobs:
        assert registries.proxy.count(f"GET .*/blobs/{sha256(blob)}") == 1
    assert registries.proxy.count("HEAD .*/manifests/1") == 1
    # With other credentials it is a pull of its own, but no blob comes twice.
    await remove(cri, name)
    registries.proxy.seen.clear()
    auths = [pb.AuthConfig(username=f"u{n}", password="p") for n in range(3)]
    await asyncio.gather(*(pull(cri, name, auth) for auth in auths))
    for blob in MADE.blobs:
        assert registries.proxy.count(f"GET .*/blobs/{sha256(blob)}") == 1
    await remove(cri, name)


async def test_a_slow_pull_goes_on_and_one_without_progress_ends(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """The bound is on a wait without a byte (1.5 s here), not on the whole."""
    before = kept(daemon)
    name = f"{registries.proxy.authority}/app:1"
    layer = sha256(MADE.layer_blobs[0])
    registries.proxy.rules = [Rule(f"GET .*/blobs/{layer}", pace_s=0.3)]
    started = asyncio.get_running_loop().time()
    assert await pull(cri, name) == MADE.id
    assert asyncio.get_running_loop().time() - started > 2
    await remove(cri, name)
    registries.proxy.rules = [Rule(f"GET .*/blobs/{layer}", times=99, stall_after=10)]
    error = await raised(pull(cri, name))
    assert error.status is Status.DEADLINE_EXCEEDED
    assert registries.proxy.authority in str(error.message)
    registries.proxy.rules = []
    # What had come is where the next one goes on.
    assert await pull(cri, name) == MADE.id
    await remove(cri, name)
    assert kept(daemon) == before


async def test_a_pull_ends_with_its_last_caller(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    before = kept(daemon)
    name = f"{registries.proxy.authority}/app:1"
    layer = sha256(MADE.layer_blobs[0])

    def slow() -> None:
        registries.proxy.rules = [Rule(f"GET .*/blobs/{layer}", times=9, pace_s=0.2)]

    slow()
    cancelled = await pulls_cancelled(daemon)
    async with asyncio.TaskGroup() as group:
        patient = group.create_task(pull(cri, name))
        await until(lambda: registries.proxy.count(f"GET .*/blobs/{layer}"))
        with pytest.raises((GRPCError, TimeoutError)):
            await pull(cri, name, timeout_s=0.2)
    assert patient.result() == MADE.id, "it goes on for the other one"
    assert await pulls_cancelled(daemon) == cancelled
    await remove(cri, name)

    slow()
    registries.proxy.seen.clear()
    async with asyncio.TaskGroup() as group:
        impatient = group.create_task(pull(cri, name))
        await until(lambda: registries.proxy.count(f"GET .*/blobs/{layer}"))
        impatient.cancel()

    async def ended() -> bool:
        return await pulls_cancelled(daemon) == cancelled + 1

    await until(ended)
    assert (await status(cri, name)).id == ""
    after = kept(daemon)
    assert len(after.pop("half files")) <= len(MADE.layer_blobs)
    assert after == {kind: names for kind, names in before.items() if kind != "half files"}
    # The next one begins where that left off, and whole.
    registries.proxy.rules = []
    assert await pull(cri, name) == MADE.id
    await remove(cri, name)
    assert kept(daemon) == before


async def pulls_cancelled(daemon: DaemonUnderTest) -> int:
    connector = aiohttp.UnixConnector(str(daemon.socket("admin")))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://admin/metrics") as response,
    ):
        text = await response.text()
    found = re.search(r'sharedrt_image_pulls_total\{result="cancelled"\} (\d+)', text)
    return int(found[1]) if found else 0


async def test_given_up_at_any_moment(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """Deadlines that fall anywhere: the image is there whole, or nothing of it is."""
    before = kept(daemon)
    name = f"{registries.proxy.authority}/app:1"
    for step in range(24):
        try:
            await pull(cri, name, timeout_s=0.002 * 1.25**step)
        except (GRPCError, TimeoutError, StreamTerminatedError):
            assert (await status(cri, name)).id in ("", MADE.id)
    await remove(cri, name)
    assert await pull(cri, name) == MADE.id
    async with pod(cri, "whole") as (id, config):
        spec = pb.ImageSpec(image=name)
        await cri.create(id, config, "c", ["/bin/tool"], image=spec, linux=secured())
    await remove(cri, name)

    async def nothing() -> bool:
        return kept(daemon) == before

    await until(nothing)
