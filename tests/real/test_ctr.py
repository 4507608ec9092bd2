"""Debian's real ctr against the containerd door."""

import asyncio
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.clients import IMAGE, CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.oci_images import MadeImage, layer_tar, publish
from tests.real.registry import RegistryUnderTest, running_registry

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

BUSYBOX = Path("/bin/busybox")


def layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def docker_archive(path: Path, names: list[str], layers: list[bytes]) -> str:
    """A ``docker save`` archive of the oldest kind; the digest of its configuration."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    members = {f"layer{number}/layer.tar": data for number, data in enumerate(layers)}
    entry = {"Config": config_name, "RepoTags": names, "Layers": list(members)}
    members |= {config_name: config, "manifest.json": json.dumps([entry]).encode()}
    path.write_bytes(layer(members))
    return digest_of(config)


@pytest.fixture
def two_layers(tmp_path: Path) -> Path:
    """An image whose second layer hides a file of the first."""
    base = layer({"bin/sh": BUSYBOX.read_bytes(), "bin/old": b"old", "etc/hidden": b"x"})
    top = layer({"etc/.wh.hidden": b"", "etc/new": b"new"})
    path = tmp_path / "two.tar"
    docker_archive(path, ["rig/two:1"], [base, top])
    return path


@pytest.fixture
def oci_archive(two_layers: Path, tmp_path: Path) -> Path:
    """The same as an OCI layout with the reference name ``latest``."""
    path = tmp_path / "oci.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", f"docker-archive:{two_layers}", f"oci-archive:{path}:latest"],
        check=True,
    )
    return path


async def lines(daemon: DaemonUnderTest, *arguments: str) -> list[str]:
    return (await daemon.ctr(*arguments)).stdout.splitlines()


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


async def gone(daemon: DaemonUnderTest, *arguments: str, what: str) -> None:
    """Until a listing no longer has it."""
    for _ in range(100):
        if what not in "".join(await lines(daemon, *arguments)):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what} is still there")


@asynccontextmanager
async def events_of(daemon: DaemonUnderTest, *filters: str) -> AsyncIterator[list[str]]:
    """What ``ctr events`` prints while the block runs; the list is filled at its end."""
    seen: list[str] = []
    process = await asyncio.create_subprocess_exec(
        "ctr",
        *("--address", str(daemon.socket("containerd")), "events", *filters),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        await asyncio.sleep(0.5)
        yield seen
        await asyncio.sleep(0.3)
    finally:
        process.terminate()
        out, _ = await process.communicate()
        seen += out.decode().splitlines()


async def test_version_and_plugins(daemon: DaemonUnderTest) -> None:
    out = "\n".join(await lines(daemon, "version"))
    assert "Server:" in out
    assert "UUID:" in out
    plugins = await lines(daemon, "plugins", "ls")
    assert any("io.containerd.snapshotter.v1" in p and "overlayfs" in p for p in plugins)
    assert all("error" not in p for p in plugins)


async def test_namespaces(daemon: DaemonUnderTest) -> None:
    assert {"k8s.io", "moby"} <= {n.split()[0] for n in await lines(daemon, "namespaces", "ls")}
    await daemon.ctr("namespaces", "create", "team", "a=b")
    await daemon.ctr("namespaces", "label", "team", "c=d")
    listed = {n.split()[0]: n.split()[-1] for n in await lines(daemon, "namespaces", "ls")}
    assert listed["team"] == "a=b,c=d"
    twice = await daemon.ctr("namespaces", "create", "team", check=False)
    assert "already exists" in twice.stderr
    await daemon.ctr("namespaces", "rm", "team")
    assert "team" not in "\n".join(await lines(daemon, "namespaces", "ls"))
    ours = await daemon.ctr("namespaces", "rm", "moby", check=False)
    assert ours.returncode != 0
    assert "belongs to a door" in ours.stderr
    bad = await daemon.ctr("-n", "../x", "containers", "ls", check=False)
    assert "invalid" in bad.stderr


async def test_containers_tasks_and_events(daemon: DaemonUnderTest, cri: CriClient) -> None:
    async with events_of(daemon, "namespace==k8s.io") as seen:
        config = cri.pod_config("ctr")
        pod = await cri.run_pod(config)
        id = await cri.create(pod, config, "ctr", ["sleep", "600"])
        await cri.start(id)
        rows = await lines(daemon, "-n", "k8s.io", "containers", "ls")
        assert any(row.split()[:2] == [id, IMAGE] for row in rows)
        assert id not in "".join(await lines(daemon, "-n", "moby", "containers", "ls"))
        info = json.loads("\n".join(await lines(daemon, "-n", "k8s.io", "containers", "info", id)))
        assert info["ID"] == id
        assert info["Image"] == IMAGE
        elsewhere = await daemon.ctr("-n", "moby", "containers", "info", id, check=False)
        never = await daemon.ctr("-n", "moby", "containers", "info", "0" * 64, check=False)
        assert elsewhere.stderr.replace(id, "0" * 64) == never.stderr
        tasks = {
            row.split()[0]: row.split()[1:]
            for row in await lines(daemon, "-n", "k8s.io", "t", "ls")
        }
        status = tasks[id]
        assert status[1] == "RUNNING"
        assert lives(status[0])
        await daemon.ctr("-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", id)
        await gone(daemon, "-n", "k8s.io", "tasks", "ls", what=id)
        await cri.remove_pod(pod)
    topics = [line.split(" UTC ")[1].split()[1] for line in seen]
    assert topics == [
        "/containers/create",
        "/tasks/start",
        "/tasks/exit",
        "/containers/delete",
    ], seen
    assert all(id in line for line in seen)


async def test_containers_are_not_made_here(daemon: DaemonUnderTest) -> None:
    refused = await daemon.ctr("-n", "moby", "run", "--rm", IMAGE, "x", "true", check=False)
    assert refused.returncode != 0
    assert "not supported by this daemon" in refused.stderr
    assert "x" not in await lines(daemon, "-n", "moby", "snapshots", "ls")
    assert not (await lines(daemon, "-n", "moby", "leases", "ls"))[1:], "ctr's lease is gone"


async def test_import_of_a_docker_archive(
    daemon: DaemonUnderTest, docker: DockerClient, two_layers: Path
) -> None:
    async with events_of(daemon, "topic~=^/images/") as seen:
        out = await daemon.ctr("-n", "moby", "images", "import", str(two_layers))
        assert "unpacking docker.io/rig/two:1" in out.stdout
        again = await daemon.ctr("-n", "moby", "images", "import", str(two_layers))
        assert again.stdout.endswith("done\n")
    assert [line.split()[5] for line in seen] == ["/images/create"]
    assert 'docker.io/rig/two:1"' in seen[0]
    row = next(r for r in await lines(daemon, "-n", "moby", "images", "ls") if "rig/two" in r)
    assert "linux/amd64" in row
    assert "rig/two" not in "".join(await lines(daemon, "-n", "k8s.io", "images", "ls"))
    checked = await lines(daemon, "-n", "moby", "images", "check", "name~=rig/two")
    assert "complete (3/3)" in checked[1]
    assert checked[1].split()[-1] == "true", "unpacked"
    status, created = await docker.post(
        "/containers/create",
        json={"Image": "rig/two:1", "Cmd": ["/bin/sh", "-c", "ls() { echo /etc/*; }; ls"]},
    )
    assert status == 201, created
    status, reply = await docker.post(f"/containers/{created['Id']}/start")
    assert status == 204, reply
    status, reply = await docker.post(f"/containers/{created['Id']}/wait")
    assert (status, reply["StatusCode"]) == (200, 0), "it runs through Docker's door"
    await docker.delete(f"/containers/{created['Id']}")
    await daemon.ctr("-n", "moby", "images", "rm", "docker.io/rig/two:1")
    assert "rig/two" not in "".join(await lines(daemon, "-n", "moby", "images", "ls"))


async def test_import_of_an_oci_archive_leaves_nothing(
    daemon: DaemonUnderTest, oci_archive: Path
) -> None:
    name = "docker.io/rig/oci"
    await daemon.ctr("-n", "ci", "images", "import", "--base-name", name, str(oci_archive))
    assert await lines(daemon, "-n", "ci", "images", "ls", "-q") == [f"{name}:latest"]
    await daemon.ctr("-n", "ci", "images", "tag", f"{name}:latest", "docker.io/rig/other:2")
    taken = await daemon.ctr(
        *("-n", "ci", "images", "tag", f"{name}:latest", "docker.io/rig/other:2"), check=False
    )
    assert "already exists" in taken.stderr
    await daemon.ctr("-n", "ci", "images", "label", "docker.io/rig/other:2", "k=v")
    labelled = await lines(daemon, "-n", "ci", "images", "ls", "-q", "labels.k==v")
    assert labelled == ["docker.io/rig/other:2"]
    snapshots = await lines(daemon, "-n", "ci", "snapshots", "ls")
    assert len(snapshots) == 3
    assert all("Committed" in row for row in snapshots[1:])
    await daemon.ctr("-n", "ci", "snapshots", "usage")
    for each in (f"{name}:latest", "docker.io/rig/other:2"):
        await daemon.ctr("-n", "ci", "images", "rm", each)
    assert (await lines(daemon, "-n", "ci", "content", "ls", "-q")) == []
    assert len(await lines(daemon, "-n", "ci", "snapshots", "ls")) == 1
    assert not (await lines(daemon, "-n", "ci", "leases", "ls"))[1:]
    await daemon.ctr("namespaces", "rm", "ci")


@pytest.fixture
def foreign_archive(two_layers: Path, tmp_path: Path) -> Path:
    """The same image said to be for riscv64."""
    layout, path = tmp_path / "layout", tmp_path / "foreign.tar"
    for command in (
        ["skopeo", "copy", "-q", f"docker-archive:{two_layers}", f"oci:{layout}:latest"],
        ["umoci", "config", "--image", f"{layout}:latest", "--architecture", "riscv64"],
        ["tar", "cf", str(path), "-C", str(layout), "."],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return path


async def test_an_archive_for_another_platform_is_refused(
    daemon: DaemonUnderTest, foreign_archive: Path
) -> None:
    refused = await daemon.ctr(
        *("-n", "ci", "images", "import", "--all-platforms", str(foreign_archive)), check=False
    )
    assert refused.returncode != 0
    assert "linux/amd64" in refused.stderr
    assert await lines(daemon, "-n", "ci", "images", "ls", "-q") == []


async def test_content(daemon: DaemonUnderTest) -> None:
    data = b"hello\n" * 500_000
    digest = digest_of(data)

    async def ingest(ref: str, data: bytes, expected: str, check: bool = True) -> str:
        done = await daemon.run(
            *("ctr", "--address", str(daemon.socket("containerd")), "-n", "moby"),
            *("content", "ingest", "--expected-digest", expected, ref),
            stdin=data,
            check=check,
        )
        return done.stderr

    await ingest("ref-1", data, digest)
    assert digest in await lines(daemon, "-n", "moby", "content", "ls", "-q")
    assert digest not in await lines(daemon, "-n", "k8s.io", "content", "ls", "-q")
    got = await daemon.ctr("-n", "moby", "content", "get", digest)
    assert got.stdout.encode() == data
    await daemon.ctr("-n", "moby", "content", "label", digest, "a=b")
    rows = await lines(daemon, "-n", "moby", "content", "ls", "labels.a==b")
    assert [row.split()[0] for row in rows[1:]] == [digest]
    hidden = await daemon.ctr("-n", "k8s.io", "content", "get", digest, check=False)
    assert "not found" in hidden.stderr
    assert "failed precondition" in await ingest("ref-2", b"other", digest_of(b"what"), False)
    assert await ingest("ref-3", data, digest) == "", "there already: ctr takes it for done"
    assert not (await lines(daemon, "-n", "moby", "content", "active"))[1:]
    await daemon.ctr("-n", "moby", "content", "rm", digest)
    assert digest not in await lines(daemon, "-n", "moby", "content", "ls", "-q")


async def test_content_that_an_image_needs_stays(daemon: DaemonUnderTest) -> None:
    row = next(r for r in await lines(daemon, "-n", "moby", "images", "ls") if IMAGE in r)
    digest = next(word for word in row.split() if word.startswith("sha256:"))
    refused = await daemon.ctr("-n", "moby", "content", "rm", digest, check=False)
    assert "in use" in refused.stderr
    assert digest in await lines(daemon, "-n", "moby", "content", "ls", "-q")


async def test_leases(daemon: DaemonUnderTest) -> None:
    [id] = await lines(daemon, "-n", "moby", "leases", "create", "--id", "mine", "a=b")
    assert id == "mine"
    assert "a=b" in (await lines(daemon, "-n", "moby", "leases", "ls"))[1]
    assert len(await lines(daemon, "-n", "k8s.io", "leases", "ls")) == 1
    await daemon.ctr("-n", "moby", "leases", "rm", "mine")
    assert len(await lines(daemon, "-n", "moby", "leases", "ls")) == 1


@pytest_asyncio.fixture(loop_scope="module")
async def registry(tmp_path: Path) -> AsyncIterator[RegistryUnderTest]:
    """Open, without TLS, with ``app:1`` of two gzipped layers."""
    async with running_registry(tmp_path / "registry") as running:
        layers = [layer_tar({"bin/sh": b"sh" * 5000}), layer_tar({"etc/new": "new"})]
        await publish(running.url, "app", "1", MadeImage(layers))
        yield running


async def test_pull_and_push(daemon: DaemonUnderTest, registry: RegistryUnderTest) -> None:
    name = f"{registry.authority}/app:1"
    await daemon.ctr("-n", "ci", "images", "pull", "--plain-http", name)
    assert await lines(daemon, "-n", "ci", "images", "ls", "-q") == [name]
    checked = await lines(daemon, "-n", "ci", "images", "check")
    assert "complete (3/3)" in checked[1]
    again = f"{registry.authority}/copy:2"
    await daemon.ctr("-n", "ci", "images", "tag", name, again)
    await daemon.ctr("-n", "ci", "images", "push", "--plain-http", again)
    await daemon.ctr("-n", "ci", "images", "rm", "--sync", name, again)
    assert await lines(daemon, "-n", "ci", "content", "ls", "-q") == []
    pulled = await daemon.cli("-n", "ci", "images", "pull", again)
    assert pulled.stdout.startswith(again)
    await daemon.ctr("-n", "ci", "content", "fetch", "--plain-http", name)
    both = {name, again}
    assert both <= set(await lines(daemon, "-n", "ci", "images", "ls", "-q"))
    for each in await lines(daemon, "-n", "ci", "images", "ls", "-q"):
        await daemon.ctr("-n", "ci", "images", "rm", each)
    await daemon.ctr("namespaces", "rm", "ci")


async def test_export_and_import_again(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    archive = tmp_path / "export.tar"
    await daemon.ctr("-n", "moby", "images", "export", str(archive), IMAGE)
    await daemon.ctr("-n", "ci", "images", "import", str(archive))
    assert await lines(daemon, "-n", "ci", "images", "ls", "-q") == [IMAGE]
    await daemon.ctr("-n", "ci", "images", "rm", IMAGE)
    await daemon.ctr("namespaces", "rm", "ci")
