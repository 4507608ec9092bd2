"""Pulls from a real registry into a real store, content store and snapshotter."""

import asyncio
from pathlib import Path

import pytest

from sharedrt.model.faults import (
    DataLoss,
    DeadlineExceeded,
    Fault,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from sharedrt.model.ids import Digest
from sharedrt.services.images import PullPhase, PullProgress, layer_directory, unpack
from tests.real.flaky_proxy import FlakyProxy, Rule
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest, sha256
from tests.real.registry import RegistryUnderTest
from tests.services.images.rig import A, B, Rig

pytestmark = pytest.mark.real

BASE = layer_tar({"bin/": b"", "bin/tool": b"t" * 300_000, "sh": "bin/tool"})
TOP = layer_tar({"etc/": b"", "etc/conf": b"two"})


@pytest.mark.parametrize("flavour", ["oci", "docker"])
@pytest.mark.parametrize("compressions", [["gzip"], ["zstd"], [""], ["gzip", "zstd"]])
async def test_main_path(
    rig: Rig, registry: RegistryUnderTest, flavour: str, compressions: list[str]
) -> None:
    made = MadeImage([BASE, TOP], flavour, compressions)
    await publish(registry.url, "team/app", "1.0", made)
    images = await rig.within(A)
    seen: list[PullProgress] = []
    name = f"{registry.authority}/team/app"

    image = await images.pull(f"{name}:1.0", progress=seen.append)

    assert (image.id, image.target.digest, image.manifest) == (made.id, made.digest, made.digest)
    assert image.repo_tags == (f"{name}:1.0",)
    assert image.repo_digests == (f"{name}@{made.digest}",)
    assert image.config.env == ("A=b",)
    assert image.content_size_bytes == len(made.manifest) + sum(map(len, made.blobs))
    assert image.unpacked_size_bytes > 300_000
    assert [layer_directory(key) for key in image.layers[::-1]] == [
        f"{key}".replace(":", "-") for key in image.config.chain_ids()
    ]
    assert rig.files(layer_directory(image.layers[1])) == {"bin/tool": b"t" * 300_000}
    assert rig.files(layer_directory(image.layers[0])) == {"etc/conf": b"two"}
    assert images.list() == [image]
    phases = [step.phase for step in seen]
    assert phases[0] == PullPhase.RESOLVING
    assert phases.count(PullPhase.PULL_COMPLETE) == 2
    assert seen[-1].text == "downloaded"
    assert seen[-2].text == made.digest
    assert rig.partial_ingests() == []

    again: list[PullProgress] = []
    assert await images.pull(f"{name}:1.0", progress=again.append) == image
    assert again[-1].text == "up to date"


async def test_survives_a_restart(rig: Rig, registry: RegistryUnderTest) -> None:
    made = MadeImage([BASE, TOP])
    await publish(registry.url, "app", "1", made)
    image = await (await rig.within(A)).pull(f"{registry.authority}/app:1")
    await rig.stop()
    await rig.start()
    await rig.collect()
    assert (await rig.within(A)).list() == [image]
    assert (await rig.within(B)).list() == []


async def test_a_container_of_an_image_that_is_here_costs_its_layers_no_work(
    rig: Rig, registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are they unpacked to be hashed, after a restart, nor is a folder made for each."""
    await publish(registry.url, "app", "1", MadeImage([BASE, TOP]))
    await (await rig.within(A)).pull(f"{registry.authority}/app:1")
    await rig.stop()
    await rig.start()
    images = await rig.within(A)
    work: list[str] = []
    monkeypatch.setattr(unpack, "_hash_unpacked", lambda *_: work.append("hash"))
    monkeypatch.setattr(rig.snapshotter, "prepare_layer", lambda *_: work.append("prepare"))
    (image,) = images.list()
    await images.ensure_unpacked(image)
    assert work == []


async def test_a_layer_that_another_blob_unpacks_to_is_hashed_once(
    rig: Rig, registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same layer, compressed in another way; and a configuration that only says so is found out."""
    await publish(registry.url, "app", "1", MadeImage([BASE], compressions=["gzip"]))
    await publish(registry.url, "app", "2", MadeImage([BASE], compressions=["zstd"]))
    await (await rig.within(A)).pull(f"{registry.authority}/app:1")
    hashed: list[str] = []
    whole = unpack._hash_unpacked

    def hash_unpacked(path: Path, limit: int) -> Digest:
        hashed.append(path.name)
        return whole(path, limit)

    monkeypatch.setattr(unpack, "_hash_unpacked", hash_unpacked)
    image = await (await rig.within(B)).pull(f"{registry.authority}/app:2")
    await asyncio.gather(*[(await rig.within(B)).ensure_unpacked(image) for _ in range(3)])
    assert len(hashed) == 1


async def test_an_index_by_platform(rig: Rig, registry: RegistryUnderTest) -> None:
    arm, amd = MadeImage([TOP], architecture="arm64"), MadeImage([BASE])
    for flavour in ("oci", "docker"):
        media_type, data = index_of([arm, amd], flavour)
        for image in (arm, amd):
            await publish(registry.url, "multi", "x", image)
        await put_manifest(registry.url, "multi", flavour, media_type, data)
        images = await rig.within(A)
        pulled = await images.pull(f"{registry.authority}/multi:{flavour}")
        assert pulled.id == amd.id
        assert pulled.target.digest == sha256(data)
        other = await images.pull(f"{registry.authority}/multi:{flavour}", platform="linux/arm64")
        assert other.id == arm.id


async def test_another_architecture_only(rig: Rig, registry: RegistryUnderTest) -> None:
    arm = MadeImage([TOP], architecture="arm64")
    await publish(registry.url, "arm", "single", arm)
    media_type, data = index_of([arm])
    await put_manifest(registry.url, "arm", "index", media_type, data)
    images = await rig.within(A)
    for tag in ("single", "index"):
        with pytest.raises(NotFound) as caught:
            await images.pull(f"{registry.authority}/arm:{tag}")
        assert caught.value.kind == "platform"
        assert "linux/amd64" in caught.value.name
    assert await rig.leftovers() == {}


async def test_by_digest(rig: Rig, registry: RegistryUnderTest) -> None:
    made = MadeImage([TOP])
    await publish(registry.url, "app", "1", made)
    name = f"{registry.authority}/app"
    images = await rig.within(A)
    image = await images.pull(f"{name}:1@{made.digest}")
    assert image.references == (f"{name}@{made.digest}",)
    for ref in (f"{name}@{made.digest}", f"{name}:1@{made.digest}", made.id, made.id[7:19]):
        assert images.get(ref).id == made.id
    with pytest.raises(NotFound):
        images.get(f"{name}:1")


@pytest.mark.parametrize("reference", ["app:nope", "nope:1", f"app@sha256:{'0' * 64}"])
async def test_unknown(rig: Rig, registry: RegistryUnderTest, reference: str) -> None:
    await publish(registry.url, "app", "1", MadeImage([TOP]))
    with pytest.raises(NotFound) as caught:
        await (await rig.within(A)).pull(f"{registry.authority}/{reference}")
    assert (caught.value.kind, caught.value.name) == ("image", f"{registry.authority}/{reference}")
    assert await rig.leftovers() == {}


async def test_registry_down(rig: Rig) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await (await rig.within(A)).pull("127.0.0.1:1/app")


async def test_a_mirrors_unknown_is_final_and_the_name_stays(
    rig: Rig, registry: RegistryUnderTest
) -> None:
    made = MadeImage([TOP])
    await publish(registry.url, "library/busybox", "latest", made)
    rig.mirror("_default", registry.url)
    images = await rig.within(A)
    image = await images.pull("busybox")
    assert image.repo_tags == ("docker.io/library/busybox:latest",)
    assert images.get("busybox") == image
    for unknown in ("nope", "quay.example/nope:1"):
        async with asyncio.timeout(2):
            with pytest.raises(NotFound):
                await images.pull(unknown)


async def test_resumes_where_the_connection_broke(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    made = MadeImage([BASE], compressions=[""])
    await publish(registry.url, "app", "1", made)
    blob = sha256(made.layer_blobs[0])
    proxy.rules = [Rule(f"GET .*{blob}", times=2, cut_after=100_000)]
    image = await (await rig.within(A)).pull(f"{proxy.authority}/app:1")
    assert image.id == made.id
    ranges = [seen.range for seen in proxy.seen if blob in seen.path and seen.method == "GET"]
    assert ranges == ["", "bytes=100000-", "bytes=200000-"]


async def test_resumes_a_failed_pull(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    made = MadeImage([BASE], compressions=[""])
    await publish(registry.url, "app", "1", made)
    blob = sha256(made.layer_blobs[0])
    images = await rig.within(A)
    proxy.rules = [Rule(f"GET .*{blob}", stall_after=150_000)]
    with pytest.raises(DeadlineExceeded):
        await images.pull(f"{proxy.authority}/app:1")
    assert await rig.leftovers() == {}
    assert len(rig.partial_ingests()) == 1
    await images.pull(f"{proxy.authority}/app:1")
    assert proxy.seen[-1].range == "bytes=150000-"
    assert rig.partial_ingests() == []


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (Rule("GET .*/blobs/", times=9, replace=b"x" * 500), DataLoss),
        (Rule("GET .*/blobs/", times=9, replace=b"x" * 900_000), DataLoss),
        (Rule("GET .*/blobs/", times=9, truncate_to=100), DataLoss),
        (Rule("GET .*/blobs/", times=99, cut_after=0), Unavailable),
        (Rule("GET .*/manifests/", times=9, replace=b"{}"), DataLoss),
        (Rule("GET .*/blobs/", times=99, status=404), NotFound),
        (Rule("GET .*/blobs/", times=99, status=500), Unavailable),
        (Rule("HEAD .*/manifests/", times=99, status=429), Unavailable),
        (Rule(".*", times=99, status=503, body=b"<h1>down</h1>"), Unavailable),
        (Rule(".*", times=99, status=403, body=b'{"errors":[{"code":"DENIED"}]}'), Fault),
    ],
)
async def test_faults_leave_nothing(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest, rule: Rule, fault: type[Fault]
) -> None:
    await publish(registry.url, "app", "1", MadeImage([BASE, TOP]))
    if fault is Unavailable and rule.status == 429:
        proxy.rules = [rule, Rule("GET .*/manifests/1$", times=99, status=429)]
    else:
        proxy.rules = [rule]
    with pytest.raises(fault):
        await (await rig.within(A)).pull(f"{proxy.authority}/app:1")
    assert await rig.leftovers() == {}


async def test_passing_troubles_are_outlasted(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MadeImage([BASE, TOP]))
    proxy.rules = [
        Rule("HEAD .*/manifests/", status=503),
        Rule("GET .*/manifests/", status=429, headers={"Retry-After": "1"}),
        Rule("GET .*/blobs/", times=2, status=500),
    ]
    assert (await (await rig.within(A)).pull(f"{proxy.authority}/app:1")).layers


async def test_a_layer_of_other_content_than_the_configuration_says(
    rig: Rig, registry: RegistryUnderTest
) -> None:
    made = MadeImage([BASE, TOP], diff_ids=[sha256(BASE), sha256(b"else")])
    await publish(registry.url, "app", "1", made)
    with pytest.raises(DataLoss, match="unpacks to"):
        await (await rig.within(A)).pull(f"{registry.authority}/app:1")
    assert await rig.leftovers() == {}


async def test_schema_1_is_refused_by_name(rig: Rig, proxy: FlakyProxy) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    body = b'{"schemaVersion": 1}'
    proxy.rules = [
        Rule("manifests", times=9, status=200, headers={"Content-Type": kind}, body=body)
    ]
    with pytest.raises(Unimplemented, match="schema 1"):
        await (await rig.within(A)).pull(f"{proxy.authority}/old:1")


async def test_bad_reference(rig: Rig) -> None:
    with pytest.raises(InvalidArgument):
        await (await rig.within(A)).pull("Not A Name")


async def test_equal_pulls_are_one(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MadeImage([BASE, TOP]))
    images = await rig.within(A)
    proxy.blob_delay_s = 0.2
    first, second = await asyncio.gather(
        images.pull(f"{proxy.authority}/app:1"), images.pull(f"{proxy.authority}/app:1")
    )
    assert first == second
    assert proxy.count("GET .*/blobs/") == 3
    assert proxy.most_concurrent_blobs == 2


async def test_a_joined_pull_ends_with_its_last_caller(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MadeImage([BASE, TOP]))
    images = await rig.within(A)
    proxy.blob_delay_s = 0.5
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(images.pull(f"{proxy.authority}/app:1")) for _ in range(2)]
        await asyncio.sleep(0.2)
        calls[0].cancel()
    assert calls[1].result().layers

    await images.remove_by_id(calls[1].result().id)
    call = asyncio.get_running_loop().create_task(images.pull(f"{proxy.authority}/app:1"))
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    before = proxy.count(".*")
    await asyncio.sleep(1)
    assert proxy.count(".*") == before
    assert await rig.leftovers() == {}


async def test_downloads_three_layers_at_once(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    layers = [layer_tar({f"f{n}": bytes([n]) * 1000}) for n in range(6)]
    await publish(registry.url, "app", "1", MadeImage(layers))
    proxy.blob_delay_s = 0.1
    image = await (await rig.within(A)).pull(f"{proxy.authority}/app:1")
    assert len(image.layers) == 6
    assert proxy.most_concurrent_blobs == 3


async def test_the_same_layer_twice_in_one_image(rig: Rig, registry: RegistryUnderTest) -> None:
    await publish(registry.url, "app", "1", MadeImage([TOP, BASE, TOP]))
    image = await (await rig.within(A)).pull(f"{registry.authority}/app:1")
    assert len(set(image.layers)) == 3


async def test_another_namespaces_blobs_need_proof(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    made = MadeImage([BASE, TOP])
    await publish(registry.url, "app", "1", made)
    name = f"{proxy.authority}/app:1"
    a, b = await rig.within(A), await rig.within(B)
    first = await a.pull(name)
    with pytest.raises(NotFound):
        b.get(name)
    before = proxy.count("GET .*/blobs/")
    layers = await rig.snapshotter.layers_on_disk()
    second = await b.pull(name)
    assert second.id == first.id
    assert proxy.count("GET .*/blobs/") == before
    assert proxy.count("HEAD .*/blobs/") == 3
    assert await rig.snapshotter.layers_on_disk() == layers
    # And one's removal is not the other's.
    await a.remove_by_id(first.id)
    assert b.get(name).id == first.id
    assert sorted(rig.files(layer_directory(second.layers[1]))) == ["bin/tool"]
    await b.remove_by_id(first.id)
    assert await rig.leftovers() == {}


async def test_a_registry_that_never_had_the_blob_proves_nothing(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    """A liar who knows a digest of another namespace answers every HEAD with 200."""
    made = MadeImage([BASE])
    await publish(registry.url, "secret", "1", made)
    await (await rig.within(A)).pull(f"{registry.authority}/secret:1")
    await publish(registry.url, "liar", "1", made)
    proxy.rules = [Rule("GET .*/blobs/", times=99, status=404)]
    with pytest.raises(NotFound):
        await (await rig.within(B)).pull(f"{proxy.authority}/liar:1")
    assert "images of moby" not in await rig.leftovers()


async def test_a_layer_folder_is_not_had_by_its_name(rig: Rig, registry: RegistryUnderTest) -> None:
    """Another namespace's folder is named by a diff id, which a configuration may simply claim."""
    await publish(registry.url, "secret", "1", MadeImage([BASE]))
    await (await rig.within(A)).pull(f"{registry.authority}/secret:1")
    await publish(registry.url, "thief", "1", MadeImage([TOP], diff_ids=[sha256(BASE)]))
    with pytest.raises(DataLoss):
        await (await rig.within(B)).pull(f"{registry.authority}/thief:1")


async def test_a_moved_tag_leaves_the_old_image_its_digest(
    rig: Rig, registry: RegistryUnderTest
) -> None:
    old, new = MadeImage([TOP]), MadeImage([BASE])
    images = await rig.within(A)
    name = f"{registry.authority}/app"
    await publish(registry.url, "app", "latest", old)
    await images.pull(name)
    await publish(registry.url, "app", "latest", new)
    await images.pull(name)
    assert images.get(name).id == new.id
    assert images.get(old.id).references == (f"{name}@{old.digest}",)


async def test_inspect_remote(rig: Rig, registry: RegistryUnderTest) -> None:
    made, arm = MadeImage([TOP]), MadeImage([TOP], architecture="arm64")
    await publish(registry.url, "app", "1", made)
    await publish(registry.url, "app", "arm", arm)
    media_type, data = index_of([made, arm])
    await put_manifest(registry.url, "app", "index", media_type, data)
    images = await rig.within(A)
    target, platforms = await images.inspect_remote(f"{registry.authority}/app:1")
    assert (target.digest, platforms) == (made.digest, ["linux/amd64"])
    target, platforms = await images.inspect_remote(f"{registry.authority}/app:index")
    assert (target.digest, platforms) == (sha256(data), ["linux/amd64", "linux/arm64"])
    assert await rig.leftovers() == {}
