"""ImageService over a grpclib client: pull secrets, private CAs, mirrors, joined and given up pulls, names, removal."""

import asyncio
import re
import sqlite3
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient
from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.flaky_proxy import FlakyProxy, Rule, flaky_proxy
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest, sha256
from tests.real.owned import unowned_images
from tests.real.registry import (
    PASSWORD,
    USER,
    TokenServer,
    make_certificates,
    running_registry,
)
from tests.real.test_cri import pod, secured, until

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
    settings = {"registry": {"stall_timeout_s": 1.5}, "cri": {"pinned_images": [PINNED]}}
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


async def only_busybox(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """Nothing is left of any other image: no name, blob, layer, lease or half file that nobody resumes."""
    assert [image.repo_tags for image in await listed(cri)] == [[IMAGE]]
    blobs = (await daemon.ctr("-n", "k8s.io", "content", "ls", "-q")).stdout.split()
    assert len(blobs) == 3, "manifest, configuration and layer of busybox"
    assert unowned_images(daemon) == []


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


# ---------------------------------------------------------------- secrets


async def bearer(registries: Registries) -> str:
    """A token for pulling ``app``, as a kubelet's credential provider may hand one over."""
    async with (
        aiohttp.ClientSession(auth=aiohttp.BasicAuth(USER, PASSWORD)) as session,
        session.get(registries.tokens.realm, params={"scope": "repository:app:pull"}) as answer,
    ):
        return str((await answer.json())["token"])


async def test_each_form_of_a_pull_secret(
    daemon: DaemonUnderTest, cri: CriClient, registries: Registries
) -> None:
    """Against registries that ask for it, over TLS of a private CA; and none of it is written anywhere."""
    token, refresh = await bearer(registries), registries.tokens.refresh_token
    pair = encoded(f"{USER}:{PASSWORD}")
    forms = {
        "password": pb.AuthConfig(username=USER, password=PASSWORD),
        "pair": pb.AuthConfig(auth=pair),
        "addressed": pb.AuthConfig(auth=pair, server_address="https://HOST/v2/"),
        "identity": pb.AuthConfig(identity_token=refresh),
        "registry": pb.AuthConfig(registry_token=token),
    }
    for host, names in (
        ("basic.example", ("password", "pair", "addressed")),
        ("token.example", ("password", "pair", "addressed", "identity", "registry")),
    ):
        for name in names:
            auth = forms[name]
            auth = pb.AuthConfig(
                **{**auth.to_pydict(betterproto_casing), "server_address": ""}
            ) if False else auth
            registries.tokens.grants.clear()
            assert await pull(cri, f"{host}/app:1", auth) == MADE.id, (host, name)
            if host == "token.example":
                methods = {"identity": ["POST"], "registry": []}.get(name, ["GET"])
                assert [grant[0] for grant in registries.tokens.grants] in (methods, []), name
            await remove(cri, f"{host}/app:1")
    await only_busybox(daemon, cri)
