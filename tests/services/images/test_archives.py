"""Archives: of docker save in its old and new forms, OCI layouts, ours to skopeo and back, hostile ones."""

import asyncio
import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import zstandard

from sharedrt.model.faults import DataLoss, Fault, InvalidArgument, NotFound, ResourceExhausted
from sharedrt.services.images import PullProgress, layer_directory
from tests.real.oci_images import OCI, MadeImage, index_of, layer_tar, publish, sha256
from tests.real.registry import RegistryUnderTest, run
from tests.services.images.rig import A, B, Rig

pytestmark = pytest.mark.real

BASE = layer_tar({"bin/": b"", "bin/tool": b"t" * 200_000})
TOP = layer_tar({"etc/": b"", "etc/conf": b"two"})
MADE = MadeImage([BASE, TOP])
PLAIN = MadeImage([BASE, TOP], compressions=[""])


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """Bytes make a file, text a symlink."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def docker_archive(made: MadeImage, tags: list[str] | None, **changes: object) -> bytes:
    """As docker save wrote it before version 25."""
    config = f"{made.id[7:]}.json"
    layers = [f"{n}{'a' * 63}/layer.tar" for n in range(len(made.layer_blobs))]
    entry = {"Config": config, "RepoTags": tags, "Layers": layers, **changes}
    return tar_of(
        {
            config: made.config_blob,
            **dict(zip(layers, made.layer_blobs, strict=True)),
            "manifest.json": json.dumps([entry]).encode(),
        }
    )


def layout(*entries: tuple[MadeImage, Mapping[str, str]], **more: bytes) -> bytes:
    """An OCI layout."""
    blobs: dict[str, bytes] = {}
    manifests = []
    for made, annotations in entries:
        for data in (made.manifest, *made.blobs):
            blobs[f"blobs/sha256/{sha256(data)[7:]}"] = data
        manifests.append({**made.entry(), "annotations": annotations})
    index = {"schemaVersion": 2, "manifests": manifests}
    return tar_of(
        {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps(index).encode(),
            **blobs,
            **more,
        }
    )


async def chunks(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def gather(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([data async for data in stream])


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, zstandard.compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
@pytest.mark.parametrize("made", [PLAIN, MADE], ids=["plain layers", "gzip layers"])
async def test_docker_archive(rig: Rig, pack: object, made: MadeImage) -> None:
    assert callable(pack)
    images = await rig.within(B)
    seen: list[PullProgress] = []
    data = pack(docker_archive(made, ["busybox:latest", "reg.example/bb:1"]))
    [loaded] = await images.load(chunks(data), progress=seen.append)
    assert loaded.references == ("docker.io/library/busybox:latest", "reg.example/bb:1")
    assert loaded.image.id == made.id
    assert images.get("busybox").layers == loaded.image.layers
    assert rig.files(layer_directory(loaded.image.layers[0])) == {"etc/conf": b"two"}
    assert seen
    # The same again changes nothing.
    [again] = await images.load(chunks(data))
    assert again.image.manifest == loaded.image.manifest
    await images.remove("busybox")
    await images.remove("reg.example/bb:1")
    assert await rig.leftovers() == {}
    assert rig.partial_ingests() == []


async def test_old_archives_link_equal_layers(rig: Rig) -> None:
    twice = MadeImage([BASE, TOP, BASE], compressions=[""])
    config = f"{twice.id[7:]}.json"
    entry = {
        "Config": config,
        "RepoTags": None,
        "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
    }
    data = tar_of(
        {
            "1/layer.tar": BASE,
            "2/layer.tar": TOP,
            "3/layer.tar": "../1/layer.tar",
            config: twice.config_blob,
            "manifest.json": json.dumps([entry]).encode(),
        }
    )
    [loaded] = await (await rig.within(B)).load(chunks(data))
    assert loaded.references == ()
    assert loaded.image.references == ()
    assert len(loaded.image.layers) == 3


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({"io.containerd.image.name": "docker.io/library/app:1"}, ("docker.io/library/app:1",)),
        ({"org.opencontainers.image.ref.name": "reg.example/app:2"}, ("reg.example/app:2",)),
        ({"org.opencontainers.image.ref.name": "latest"}, ()),
        ({"org.opencontainers.image.ref.name": "some text: free"}, ()),
        ({}, ()),
    ],
)
async def test_oci_layout(rig: Rig, annotations: dict[str, str], names: tuple[str, ...]) -> None:
    images = await rig.within(B)
    [loaded] = await images.load(chunks(layout((MADE, annotations))))
    assert loaded.references == names
    assert (loaded.image.id, loaded.image.target.digest) == (MADE.id, MADE.digest)


async def test_a_layout_with_several_names_and_platforms(rig: Rig) -> None:
    arm = MadeImage([TOP], architecture="arm64")
    media_type, inner = index_of([arm, MADE])
    entry = {"mediaType": media_type, "digest": sha256(inner), "size": len(inner)}
    named = [
        {**entry, "annotations": {"io.containerd.image.name": f"docker.io/library/app:{tag}"}}
        for tag in ("1", "2")
    ]
    files = {
        f"blobs/sha256/{sha256(data)[7:]}": data for data in (inner, MADE.manifest, *MADE.blobs)
    }
    index = json.dumps({"schemaVersion": 2, "manifests": named}).encode()
    data = tar_of({"oci-layout": b"{}", "index.json": index, **files})
    images = await rig.within(B)
    [loaded] = await images.load(chunks(data))
    assert loaded.references == ("docker.io/library/app:1", "docker.io/library/app:2")
    assert loaded.image.target.digest == sha256(inner)
    assert loaded.image.id == MADE.id


async def test_names_of_manifest_json_serve_a_nameless_layout(rig: Rig) -> None:
    manifest = [{"Config": f"blobs/sha256/{MADE.id[7:]}", "RepoTags": ["app:1"], "Layers": []}]
    data = layout((MADE, {}), **{"manifest.json": json.dumps(manifest).encode()})
    [loaded] = await (await rig.within(B)).load(chunks(data))
    assert loaded.references == ("docker.io/library/app:1",)


async def test_skopeos_archives(rig: Rig, registry: RegistryUnderTest, tmp_path: Path) -> None:
    await publish(registry.url, "library/app", "1", MADE)
    images = await rig.within(B)
    source = f"docker://{registry.authority}/library/app:1"
    for kind in ("docker-archive", "oci-archive"):
        path = tmp_path / f"{kind}.tar"
        await run("skopeo", "copy", "--src-tls-verify=false", source, f"{kind}:{path}:app:1")
        [loaded] = await images.load(chunks(await asyncio.to_thread(path.read_bytes)))
        assert loaded.references == ("docker.io/library/app:1",)
        assert images.get("app:1").config.env == ("A=b",)


async def test_save_is_read_by_skopeo_in_both_forms_and_by_us(
    rig: Rig, registry: RegistryUnderTest, tmp_path: Path
) -> None:
    other = MadeImage([TOP])
    await publish(registry.url, "library/app", "1", MADE)
    await publish(registry.url, "library/other", "1", other)
    rig.mirror("docker.io", registry.url)
    images = await rig.within(A)
    await images.pull("app:1")
    await images.pull("other:1")
    await images.tag("app:1", "app:2")
    data = await gather(images.save(["app", other.id]))

    path = tmp_path / "saved.tar"
    await asyncio.to_thread(path.write_bytes, data)
    out = await run("skopeo", "inspect", "--config", f"docker-archive:{path}:app:2")
    assert json.loads(out)["config"]["Env"] == ["A=b"]
    target = tmp_path / "layout"
    await run("skopeo", "copy", f"docker-archive:{path}:app:1", f"oci:{target}:1")
    extracted = tmp_path / "extracted"
    await asyncio.to_thread(extracted.mkdir)
    await run("tar", "-C", extracted, "-xf", path)
    await run("skopeo", "inspect", f"oci:{extracted}:2")
    listed = await run("tar", "-tf", path)
    assert b"manifest.json" in listed

    elsewhere = await rig.within(B)
    loaded = await elsewhere.load(chunks(data))
    assert [entry.references for entry in loaded] == [
        ("docker.io/library/app:1", "docker.io/library/app:2"),
        (),
    ]
    assert [entry.image.id for entry in loaded] == [MADE.id, other.id]
    assert [entry.image.manifest for entry in loaded] == [MADE.digest, other.digest]

    with pytest.raises(NotFound):
        images.save(["app:1", "nope"])
    with pytest.raises(NotFound):
        images.save(["app:1"], platform="linux/arm64")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", InvalidArgument),
        (b"garbage\n", InvalidArgument),
        (gzip.compress(b"garbage", mtime=0), InvalidArgument),
        (gzip.compress(b"x" * 5000, mtime=0)[:40], InvalidArgument),
        (b"\x28\xb5\x2f\xfd no zstd", InvalidArgument),
        (bz2.compress(b"x" * 5000)[:20], InvalidArgument),
        (tar_of({"file": b"x"}), InvalidArgument),
        (tar_of({"manifest.json": b"{"}), InvalidArgument),
        (tar_of({"manifest.json": b"{}"}), InvalidArgument),
        (tar_of({"manifest.json": b'[{"Config": 1}]'}), InvalidArgument),
        (docker_archive(PLAIN, ["Bad Name"]), InvalidArgument),
        (docker_archive(PLAIN, None, Config="../../etc/passwd"), InvalidArgument),
        (docker_archive(PLAIN, None, Layers=["/etc/passwd", "x"]), InvalidArgument),
        (docker_archive(PLAIN, None, Layers=[]), InvalidArgument),
        (docker_archive(MadeImage([BASE], diff_ids=[sha256(TOP)]), None), DataLoss),
        (
            docker_archive(MadeImage([BASE], diff_ids=[sha256(TOP)], compressions=[""]), None),
            DataLoss,
        ),
        (tar_of({"../evil": b"x", "manifest.json": b"[]"}), InvalidArgument),
        (tar_of({"a": "/etc/passwd", "manifest.json": b"[]"}), InvalidArgument),
        (layout((MADE, {}), **{f"blobs/sha256/{MADE.id[7:]}": b"other"}), DataLoss),
        (
            layout(
                (MADE, {}),
                **{
                    f"blobs/sha256/{sha256(MADE.layer_blobs[0])[7:]}": bytes(
                        len(MADE.layer_blobs[0])
                    )
                },
            ),
            DataLoss,
        ),
    ],
)
async def test_bad_archives_leave_nothing(rig: Rig, data: bytes, fault: type[Fault]) -> None:
    with pytest.raises(fault):
        await (await rig.within(B)).load(chunks(data))
    assert await rig.leftovers() == {}
    assert rig.partial_ingests() == []


async def test_bounds(rig: Rig) -> None:
    rig.host.image_bytes_max = 100_000
    images = await rig.within(B)
    for data in (docker_archive(PLAIN, None), gzip.compress(docker_archive(PLAIN, None))):
        with pytest.raises(ResourceExhausted):
            await images.load(chunks(data))
    assert await rig.leftovers() == {}


async def test_an_interrupted_upload_leaves_nothing(rig: Rig) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield docker_archive(PLAIN, ["app:1"])[:5000]
        raise ConnectionResetError

    images = await rig.within(B)
    with pytest.raises(ConnectionResetError):
        await images.load(broken())
    assert await rig.leftovers() == {}


async def test_an_archive_proves_nothing_about_blobs_it_lacks(rig: Rig) -> None:
    """Another namespace's layer cannot be had by an archive that only names it."""
    await (await rig.within(A)).load(chunks(layout((MADE, {}))))
    missing = tar_of(
        {
            "oci-layout": b"{}",
            "index.json": json.dumps({"schemaVersion": 2, "manifests": [MADE.entry()]}).encode(),
            f"blobs/sha256/{MADE.digest[7:]}": MADE.manifest,
            f"blobs/sha256/{MADE.id[7:]}": MADE.config_blob,
        }
    )
    with pytest.raises(InvalidArgument):
        await (await rig.within(B)).load(chunks(missing))
    assert "blobs of moby" not in await rig.leftovers()


async def test_register_takes_only_what_this_namespace_has(rig: Rig) -> None:
    loaded = await (await rig.within(A)).load(chunks(layout((MADE, {}))))
    target = loaded[0].image.target
    with pytest.raises(NotFound) as caught:
        await (await rig.within(B)).register("app:1", target)
    assert caught.value.kind == "content"
    named = await (await rig.within(A)).register("app:1", target)
    assert named.references == ("docker.io/library/app:1",)
    assert f"{OCI}manifest.v1+json" == named.target.media_type
