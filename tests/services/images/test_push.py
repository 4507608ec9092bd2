"""Pushes to a real registry, and what is read back from it."""

import asyncio

import pytest

from sharedrt.model.faults import NotFound, Unavailable
from sharedrt.services.images import PushPhase, PushProgress
from tests.real.flaky_proxy import FlakyProxy, Rule
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest, sha256
from tests.real.registry import RegistryUnderTest, run
from tests.services.images.rig import A, B, Rig
from tests.services.images.test_archives import chunks, docker_archive

pytestmark = pytest.mark.real

MADE = MadeImage([layer_tar({"f": b"x" * 5000}), layer_tar({"g": b"y"})], compressions=[""])


async def test_push_and_pull_back(rig: Rig, registry: RegistryUnderTest) -> None:
    moby = await rig.within(B)
    await moby.load(chunks(docker_archive(MADE, ["app:1"])))
    name = f"{registry.authority}/team/app:1"
    await moby.tag("app:1", name)
    seen: list[PushProgress] = []
    digest = await moby.push(name, progress=seen.append)
    assert (seen[-1].phase, seen[-1].text) == (PushPhase.DIGEST, digest)
    pushed = [step.id for step in seen if step.phase is PushPhase.PUSHED]
    assert sorted(pushed) == sorted(sha256(blob) for blob in MADE.layer_blobs)
    assert moby.get(name).repo_digests == (f"{registry.authority}/team/app@{digest}",)
    out = await run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")
    assert digest.encode() in out

    again: list[PushProgress] = []
    await moby.push(name, progress=again.append)
    there = [step.id for step in again if step.phase is PushPhase.ALREADY_EXISTS]
    assert sorted(there) == sorted(pushed)
    pulled = await (await rig.within(A)).pull(name)
    assert (pulled.id, pulled.manifest) == (MADE.id, digest)


async def test_what_was_pulled_goes_out_as_it_came(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    arm = MadeImage([layer_tar({"f": b"arm"})], architecture="arm64")
    for image in (MADE, arm):
        await publish(registry.url, "app", "x", image)
    media_type, data = index_of([arm, MADE])
    await put_manifest(registry.url, "app", "multi", media_type, data)
    images = await rig.within(A)
    await images.pull(f"{proxy.authority}/app:multi")
    target = f"{proxy.authority}/other:1"
    await images.tag(f"{proxy.authority}/app:multi", target)
    # This platform's manifest, its blobs mounted out of the repository that they came from.
    assert await images.push(target) == MADE.digest
    assert proxy.count("PUT .*/blobs/uploads") == 0


async def test_faults(rig: Rig, proxy: FlakyProxy) -> None:
    images = await rig.within(B)
    with pytest.raises(NotFound):
        await images.push(f"{proxy.authority}/nope:1")
    name = f"{proxy.authority}/app:1"
    await images.load(chunks(docker_archive(MADE, [name])))
    proxy.rules = [Rule("PUT .*/manifests/", times=99, status=502)]
    with pytest.raises(Unavailable):
        await images.push(name)
    assert images.get(name).repo_digests == ()
    proxy.rules = []
    async with asyncio.timeout(60):
        await images.push(name)
