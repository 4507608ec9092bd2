"""The pause image that containerd needs, made of Debian's static catatonit."""

from pathlib import Path

from tests.real.oci_images import layer_tar

NAME = "bench.invalid/pause:1"


def write_pause_image(path: Path) -> None:
    """As a ``docker save`` archive."""
    import hashlib
    import json

    layer = layer_tar({"catatonit": Path("/usr/bin/catatonit").read_bytes()})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/catatonit", "-P"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()],
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
