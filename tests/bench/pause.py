"""The pause image that containerd needs, made of Debian's static catatonit."""

import json
import platform
from pathlib import Path

from tests.real.oci_images import layer_tar, sha256

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NAME = "bench.invalid/pause:1"


def write_pause_image(path: Path) -> None:
    """As a ``docker save`` archive."""
    layer = layer_tar({"catatonit": Path("/usr/bin/catatonit").read_bytes()})
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": ["/catatonit", "-P"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [sha256(layer)],
            },
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    path.write_bytes(
        layer_tar(
            {
                "config.json": config,
                "layer.tar": layer,
                "manifest.json": json.dumps(manifest).encode(),
            }
        )
    )
