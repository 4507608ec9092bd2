"""Images through the real docker CLI and ctr: pulled, pushed, saved, loaded, removed; and their refusals."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.flaky_proxy import FlakyProxy, Rule, flaky_proxy
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest
from tests.real.registry import RegistryUnderTest, running_registry

pytestmark = pytest.mark.real

MADE = MadeImage([layer_tar({"bin/": b"", "bin/tool": b"t" * 90_000}), layer_tar({"etc/x": b"1"})])
ARM = MadeImage([layer_tar({"arm": b"1"})], architecture="arm64")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryUnderTest]:
    async with running_registry(tmp_path / "registry") as running:
        await publish(running.url, "library/app", "1", MADE)
        await publish(running.url, "library/arm", "1", ARM)
        media_type, data = index_of([ARM])
        await put_manifest(running.url, "library/arm", "index", media_type, data)
        yield running


@pytest.fixture
async def proxy(registry: RegistryUnderTest) -> AsyncIterator[FlakyProxy]:
    async with flaky_proxy(registry.url) as running:
        yield running


@pytest.fixture
async def daemon(proxy: FlakyProxy) -> AsyncIterator[DaemonUnderTest]:
    """Its catch-all mirror is the proxy before the registry."""
    async with running_daemon() as running:
        folder = running.certs_d / "_default"
        folder.mkdir()
        (folder / "hosts.toml").write_text(
            f'[host."http://{proxy.authority}"]\ncapabilities = ["pull", "resolve"]\n'
        )
        yield running


async def test_the_life_of_an_image(
    daemon: DaemonUnderTest, registry: RegistryUnderTest, tmp_path: Path
) -> None:
    out = (await daemon.docker("pull", "app:1")).stdout
    assert f"Digest: {MADE.digest}" in out
    assert "Downloaded newer image for app:1" in out
    assert "up to date" in (await daemon.docker("pull", "app:1")).stdout
    shown = json.loads((await daemon.docker("inspect", "app:1")).stdout)[0]
    assert (shown["Id"], shown["RepoTags"]) == (MADE.id, ["app:1"])
    assert shown["RepoDigests"] == [f"app@{MADE.digest}"]

    name = f"{registry.authority}/copy:2"
    await daemon.docker("tag", "app:1", name)
    assert MADE.digest in (await daemon.docker("push", name)).stdout
    saved = tmp_path / "saved.tar"
    await daemon.docker("save", "-o", str(saved), "app:1")
    removed = (await daemon.docker("rmi", "-f", MADE.id)).stdout
    assert f"Deleted: {MADE.id}" in removed
    assert (await daemon.docker("images", "-q")).stdout == ""
    assert "Loaded image: app:1" in (await daemon.docker("load", "-i", str(saved))).stdout
    await daemon.docker("rmi", "app:1")
    await daemon.docker("pull", f"{registry.authority}/copy@{MADE.digest}")
    assert "app" not in (await daemon.ctr("-n", "k8s.io", "images", "ls")).stdout
    assert "copy@" in (await daemon.ctr("-n", "moby", "images", "ls")).stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope:1", "not found"),
        ("other.example/nope", "not found"),
        ("arm:index", "no matching manifest for linux/amd64"),
        ("arm:1", "linux/arm64"),
    ],
)
async def test_refusals(daemon: DaemonUnderTest, name: str, words: str) -> None:
    done = await daemon.docker("pull", name, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (await daemon.ctr("-n", "moby", "content", "ls", "-q")).stdout == ""


async def test_a_wrong_digest_and_a_stall(daemon: DaemonUnderTest, proxy: FlakyProxy) -> None:
    proxy.rules = [Rule("GET .*/blobs/", times=9, replace=b"x" * 10)]
    done = await daemon.docker("pull", "app:1", check=False)
    assert done.returncode != 0
    assert "sha256:" in done.stderr
    proxy.rules = [Rule("GET .*/blobs/", times=9, stall_after=10)]
    done = await daemon.docker("pull", "app:1", check=False)
    assert "timed out after 5 s" in done.stderr
    proxy.rules = []
    await daemon.docker("pull", "app:1")
