"""Images made here, byte by byte, and put into a registry by plain requests: no code of ours is involved."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import zstandard

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_tar(files: Mapping[str, bytes | str]) -> bytes:
    """A layer: bytes make a file, text a symlink, names ending in a slash a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime, info.mode = 1_700_000_000, 0o755
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def compress(data: bytes, how: str) -> bytes:
    match how:
        case "gzip":
            return gzip.compress(data, 1, mtime=0)
        case "zstd":
            return zstandard.compress(data, 1)
        case _:
            return data


@dataclass
class MadeImage:
    """Blobs and manifest of an image. ``flavour``: ``oci`` or ``docker``."""

    layers: Sequence[bytes]
    flavour: str = "oci"
    compressions: Sequence[str] = ("gzip",)
    architecture: str = "amd64"
    config: Mapping[str, object] = field(default_factory=dict)
    diff_ids: Sequence[str] | None = None

    def __post_init__(self) -> None:
        docker = self.flavour == "docker"
        how = [self.compressions[n % len(self.compressions)] for n in range(len(self.layers))]
        self.layer_blobs = [compress(tar, h) for tar, h in zip(self.layers, how, strict=True)]
        suffix = {"gzip": "+gzip", "zstd": "+zstd", "": ""}
        docker_suffix = {"gzip": ".gzip", "zstd": ".zstd", "": ""}
        document = {
            "architecture": self.architecture,
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["A=b"], **self.config},
            "rootfs": {
                "type": "layers",
                "diff_ids": list(self.diff_ids or map(sha256, self.layers)),
            },
            "history": [{"created_by": f"layer {n}"} for n in range(len(self.layers))],
        }
        self.config_blob = json.dumps(document).encode()
        self.id = sha256(self.config_blob)
        self.media_type = (
            f"{DOCKER}distribution.manifest.v2+json" if docker else f"{OCI}manifest.v1+json"
        )
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": {
                    "mediaType": f"{DOCKER}container.image.v1+json"
                    if docker
                    else f"{OCI}config.v1+json",
                    "digest": self.id,
                    "size": len(self.config_blob),
                },
                "layers": [
                    {
                        "mediaType": f"{DOCKER}image.rootfs.diff.tar{docker_suffix[h]}"
                        if docker
                        else f"{OCI}layer.v1.tar{suffix[h]}",
                        "digest": sha256(blob),
                        "size": len(blob),
                    }
                    for blob, h in zip(self.layer_blobs, how, strict=True)
                ],
            }
        ).encode()
        self.digest = sha256(self.manifest)

    @property
    def blobs(self) -> list[bytes]:
        return [self.config_blob, *self.layer_blobs]

    def entry(self) -> dict[str, object]:
        """Its line in an index."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.manifest),
            "platform": {"os": "linux", "architecture": self.architecture},
        }


def index_of(images: Sequence[MadeImage], flavour: str = "oci") -> tuple[str, bytes]:
    """(media type, bytes) of an index of images."""
    media_type = (
        f"{OCI}index.v1+json" if flavour == "oci" else f"{DOCKER}distribution.manifest.list.v2+json"
    )
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [image.entry() for image in images],
    }
    return media_type, json.dumps(document).encode()


async def put_manifest(url: str, repository: str, tag: str, media_type: str, data: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(
            f"{url}/v2/{repository}/manifests/{tag}",
            data=data,
            headers={"Content-Type": media_type},
        ) as response,
    ):
        assert response.status == 201, await response.text()


async def publish(url: str, repository: str, tag: str, image: MadeImage) -> None:
    """Put an image into a registry that asks for nothing."""
    async with aiohttp.ClientSession() as session:
        for blob in image.blobs:
            async with session.post(f"{url}/v2/{repository}/blobs/uploads/") as response:
                assert response.status == 202, await response.text()
                location = response.headers["Location"]
            joint = "&" if "?" in location else "?"
            async with session.put(
                f"{location}{joint}digest={sha256(blob)}", data=io.BytesIO(blob)
            ) as response:
                assert response.status == 201, await response.text()
    await put_manifest(url, repository, tag, image.media_type, image.manifest)
