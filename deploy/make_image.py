"""Makes a first image out of Debian's busybox-static: ``make_image.py OUT.tar [NAME]``.

The archive is what ``docker save`` writes, so any engine can load it. Times and owners are fixed: the
image has the same id wherever the same busybox is.
"""

import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
CREATED = "2024-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64le"}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
FOLDERS = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755, "var/www": 0o755}


def entry(name: str, mode: int, kind: bytes, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.size, info.linkname = mode, kind, size, link
    info.mtime = 1704067200
    return info


def layer() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    binary = BUSYBOX.read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in FOLDERS.items():
            tar.addfile(entry(name, mode, tarfile.DIRTYPE))
        tar.addfile(entry("bin/busybox", 0o755, tarfile.REGTYPE, len(binary)), io.BytesIO(binary))
        for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
            tar.addfile(entry(f"bin/{applet}", 0o777, tarfile.LNKTYPE, link="bin/busybox"))
        for name, text in FILES.items():
            data = text.encode()
            tar.addfile(entry(name, 0o644, tarfile.REGTYPE, len(data)), io.BytesIO(data))
    return out.getvalue()


def archive(name: str) -> bytes:
    data = layer()
    diff_id = "sha256:" + hashlib.sha256(data).hexdigest()
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "created": CREATED,
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": CREATED, "created_by": "busybox-static"}],
        },
        sort_keys=True,
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps(
        [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    ).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, content in (
            ("manifest.json", manifest),
            (config_name, config),
            ("layer.tar", data),
        ):
            tar.addfile(entry(member, 0o644, tarfile.REGTYPE, len(content)), io.BytesIO(content))
    return out.getvalue()


if __name__ == "__main__":
    reference = sys.argv[2] if len(sys.argv) > 2 else "busybox:latest"
    Path(sys.argv[1]).write_bytes(archive(reference))
