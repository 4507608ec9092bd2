"""Bad input through the real doors: one clear line with the right code, the object's name in the log, nothing left.

What goes wrong inside one part has its tests beside that part; conmon that is killed is in ``test_recovery``.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from grpclib import GRPCError, Status
from grpclib.client import Channel, UnaryUnaryMethod

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, DockerClient, Raw, cri_client, docker_client
from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.flaky_proxy import FlakyProxy, Rule, flaky_proxy
from tests.real.oci_images import MadeImage, index_of, layer_tar, publish, put_manifest, sha256
from tests.real.owned import listed, unowned
from tests.real.registry import run, running_registry

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

MADE = MadeImage([layer_tar({"bin/tool": os.urandom(300_000)}), layer_tar({"etc/x": b"1"})])
LARGE = MadeImage([layer_tar({"large": os.urandom(60_000_000)})], compressions=("",))
HALF = MadeImage([layer_tar({"half": os.urandom(18_000_000)})], compressions=("",))
"""Fits on the small disk once, but not as blob and unpacked."""
ARM = MadeImage([layer_tar({"arm": b"1"})], architecture="arm64")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FlakyProxy]:
    """Before a registry with a good image, a large one, and one for another architecture."""
    folder = tmp_path_factory.mktemp("registry")
    async with running_registry(folder) as registry, flaky_proxy(registry.url) as running:
        await publish(registry.url, "app", "1", MADE)
        await publish(registry.url, "large", "1", LARGE)
        await publish(registry.url, "half", "1", HALF)
        await publish(registry.url, "arm", "1", ARM)
        media_type, data = index_of([ARM])
        await put_manifest(registry.url, "arm", "index", media_type, data)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(busybox_archive: Path) -> AsyncIterator[DaemonUnderTest]:
    """One that soon gives up a registry that says nothing."""
    async with running_daemon({"registry": {"stall_timeout_s": 1.5}}) as running:
        for namespace in ("k8s.io", "moby"):
            await running.cli("-n", namespace, "images", "import", str(busybox_archive))
        yield running


async def nothing_left(daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient) -> None:
    """No blob, half file, snapshot or row beyond the busybox image's; nothing on the host without an owner."""
    state = daemon.root / "state"
    for namespace in ("k8s.io", "moby"):
        blobs = (await daemon.ctr("-n", namespace, "content", "ls", "-q")).stdout.split()
        assert len(blobs) == 3, "manifest, configuration and layer of busybox"
        images = (await daemon.ctr("-n", namespace, "images", "ls", "-q")).stdout.split()
        assert images == ["docker.io/library/busybox:latest"]
    assert not list((state / "content").glob("ingest/*")), "half files"
    owners = await listed(cri, docker)
    assert owners.all == set()
    assert unowned(daemon, owners) == []


@pytest.mark.parametrize(
    ("name", "rule", "status", "grpc", "words"),
    [
        ("nope:1", None, 404, Status.NOT_FOUND, "not found"),
        ("arm:index", None, 404, Status.NOT_FOUND, "linux/amd64"),
        ("arm:1", None, 404, Status.NOT_FOUND, "linux/arm64"),
        ("app:1", Rule("GET .*/blobs/", 99, replace=b"x" * 9), 500, Status.DATA_LOSS, "sha256:"),
        ("app:1", Rule("GET .*/blobs/", 99, truncate_to=99), 500, Status.DATA_LOSS, "sha256:"),
        (
            "app:1",
            Rule("GET .*/blobs/", 99, stall_after=9),
            504,
            Status.DEADLINE_EXCEEDED,
            "timed out",
        ),
        ("app:1", Rule("GET", 99, status=503), 500, Status.UNAVAILABLE, "503"),
    ],
    ids=["unknown", "index", "architecture", "digest", "truncated", "slow", "failing"],
)
async def test_images_that_cannot_be_had(
    daemon: DaemonUnderTest,
    cri: CriClient,
    docker: DockerClient,
    proxy: FlakyProxy,
    name: str,
    rule: Rule | None,
    status: int,
    grpc: Status,
    words: str,
) -> None:
    reference = f"{proxy.authority}/{name}"
    proxy.rules = [] if rule is None else [rule]
    repository, tag = reference.rsplit(":", 1)
    url = "http://docker/v1.51/images/create"
    query = {"fromImage": repository, "tag": tag}
    async with docker.session.post(url, params=query) as response:
        code, said = response.status, await response.text()
    assert one_line(words, json.loads(said)["message"] if code >= 300 else error_of(said))
    # Docker answers 200 as soon as there is progress to tell; what fails later is in the stream.
    assert code == status or (rule is not None and code == 200)
    pulled = await daemon.docker("pull", reference, check=False)
    assert pulled.returncode == 1
    assert one_line(words, pulled.stderr.strip())
    with pytest.raises(GRPCError) as caught:
        await cri_pull(cri, reference)
    assert (caught.value.status, one_line(words, caught.value.message)) == (grpc, True)
    told = [line for line in daemon.log().splitlines() if "call refused" in line]
    assert sum(f'"{repository}' in line for line in told) >= 3, "all three calls name it"
    if rule is not None and rule.stall_after is not None:
        await resumed(daemon, proxy, reference)
    await nothing_left(daemon, cri, docker)


async def cri_pull(cri: CriClient, reference: str) -> None:
    await cri.images.pull_image(pb.PullImageRequest(image=pb.ImageSpec(image=reference)))


async def resumed(daemon: DaemonUnderTest, proxy: FlakyProxy, reference: str) -> None:
    """What arrived before the silence is not fetched again; the half file becomes the blob."""
    proxy.rules = []
    proxy.seen.clear()
    await daemon.docker("pull", reference)
    ranges = [s.range for s in proxy.seen if sha256(MADE.config_blob) in s.path]
    assert [r for r in ranges if not r.startswith("bytes=")] == []
    assert ranges
    await daemon.docker("rmi", reference)
    await daemon.cli("-n", "k8s.io", "images", "pull", reference)
    await daemon.cli("-n", "k8s.io", "images", "rm", reference)


def one_line(words: str, message: str | None) -> bool:
    assert message is not None
    assert words in message
    assert "\n" not in message
    assert "Traceback" not in message
    return True


def error_of(stream: str) -> str:
    """The message of a progress stream that ends in an error."""
    last = json.loads(stream.strip().splitlines()[-1])
    assert last["errorDetail"]["message"] == last["error"]
    return str(last["error"])


async def test_a_registry_that_is_down(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    code, said = await docker.post("/images/create", fromImage="127.0.0.1:1/x", tag="1")
    assert (code, one_line("127.0.0.1:1", said["message"])) == (500, True)
    with pytest.raises(GRPCError) as caught:
        await cri_pull(cri, "127.0.0.1:1/x:1")
    assert caught.value.status is Status.UNAVAILABLE
    assert "127.0.0.1:1/x:1" in daemon.log()
    await nothing_left(daemon, cri, docker)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"Image": 3}', b"\xff", b""])
async def test_malformed_json(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    url = "http://docker/v1.51/containers/create?name=malformed"
    async with docker.session.post(url, data=body, headers=headers) as response:
        said = await response.json()
        assert response.status == 400, said
        assert one_line("", said["message"])
    await nothing_left(daemon, cri, docker)


@pytest.mark.parametrize("door", ["cri", "containerd"])
async def test_malformed_protobuf(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, door: str
) -> None:
    call = {
        "cri": "/runtime.v1.RuntimeService/RunPodSandbox",
        "containerd": "/containerd.services.containers.v1.Containers/Get",
    }[door]
    metadata = {"containerd-namespace": "moby"}
    async with Channel(path=str(daemon.socket(door)), codec=Raw()) as channel:
        for data in (b"\xff\xff\xff", b"\x0a\xff\x01x", b"\x0b"):
            method = UnaryUnaryMethod[bytes, bytes](channel, call, bytes, bytes)
            with pytest.raises(GRPCError) as caught:
                await method(data, metadata=metadata)
            assert caught.value.status in (Status.INVALID_ARGUMENT, Status.INTERNAL)
            assert one_line("", caught.value.message)
    await nothing_left(daemon, cri, docker)


async def test_an_entrypoint_that_does_not_exist(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    done = await daemon.docker("run", "--rm", "--name", "gone", "busybox", "/no/such", check=False)
    assert done.returncode == 127
    assert "/no/such" in done.stderr
    config = cri.pod_config("gone")
    pod = await cri.run_pod(config)
    container = await cri.create(pod, config, "main", ["/no/such"])
    with pytest.raises(GRPCError) as caught:
        await cri.start(container)
    assert one_line("/no/such", caught.value.message)
    assert (await cri.status(container)).reason == "StartError"
    assert container in daemon.log()
    await cri.remove_pod(pod)
    await nothing_left(daemon, cri, docker)


async def test_a_name_in_use(daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient) -> None:
    body = {"Image": "busybox"}
    _, first = await docker.post("/containers/create", json=body, name="taken")
    status, said = await docker.post("/containers/create", json=body, name="taken")
    assert status == 409
    assert one_line(f'"/taken" is already in use by container "{first["Id"]}"', said["message"])
    await docker.delete(f"/containers/{first['Id']}")
    await nothing_left(daemon, cri, docker)


@contextlib.asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[Path]:
    """An ext4 of 40 MiB, mounted."""
    image, mount = folder / "disk", folder / "mounted"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(40 << 20)
    await run("mkfs.ext4", "-q", "-m", "0", image)
    await run("mount", "-o", "loop", image, mount)
    try:
        yield mount
    finally:
        await run("umount", mount)


async def test_a_full_disk(tmp_path: Path, busybox_archive: Path, proxy: FlakyProxy) -> None:
    proxy.rules = []
    large, half = f"{proxy.authority}/large:1", f"{proxy.authority}/half:1"
    async with small_disk(tmp_path) as disk:
        settings = {"daemon": {"state_dir": disk / "state"}}
        async with (
            running_daemon(settings) as daemon,
            cri_client(daemon.socket("cri"), daemon.root / "pods") as cri,
            docker_client(daemon.socket("docker")) as docker,
        ):
            for namespace in ("k8s.io", "moby"):
                await daemon.cli("-n", namespace, "images", "import", str(busybox_archive))
            before = shutil.disk_usage(disk).free
            for reference in (large, half):
                done = await daemon.docker("pull", reference, check=False)
                assert one_line("no space left", done.stderr.strip())
                with pytest.raises(GRPCError) as caught:
                    await cri_pull(cri, reference)
                assert caught.value.status is Status.RESOURCE_EXHAUSTED
                assert reference in daemon.log()
                await nothing_left_on(daemon, disk, before)

            fill(disk / "filler")
            status, said = await docker.post(
                "/containers/create", json={"Image": "busybox", "Labels": {"a": "x" * 500_000}}
            )
            assert (status, one_line("no space left", said["message"])) == (500, True)
            wide = cri.pod_config("full", annotations={"a": "x" * 500_000})
            with pytest.raises(GRPCError) as caught:
                await cri.run_pod(wide)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
            assert one_line("disk is full", caught.value.message)
            (disk / "filler").unlink()
            assert (await listed(cri, docker)).all == set()
            ran = await daemon.docker("run", "--rm", "busybox", "echo", "again")
            assert ran.stdout == "again\n"
            await nothing_left_on(daemon, disk, before)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


async def nothing_left_on(daemon: DaemonUnderTest, disk: Path, free_before: int) -> None:
    blobs = (await daemon.ctr("-n", "moby", "content", "ls", "-q")).stdout.split()
    assert len(blobs) == 3
    # The database's log may have grown by what it holds of the refusals.
    assert free_before - shutil.disk_usage(disk).free < 6 << 20


async def refused(daemon: DaemonUnderTest, *words: str, code: int) -> None:
    """A start that ends at once: its one line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sharedrt", "--config", str(daemon.config_path)),
        env=daemon.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    lines = [line for line in out.decode().splitlines() if line.startswith("sharedrtd: ")]
    assert process.returncode == code, out.decode()
    assert len(lines) == 1, out.decode()
    assert "Traceback" not in out.decode()
    for word in words:
        assert word in lines[0]


@pytest.fixture
def second() -> Iterator[DaemonUnderTest]:
    """One that does not get as far as to make anything."""
    daemon = DaemonUnderTest()
    yield daemon
    shutil.rmtree(daemon.root)


async def test_a_bad_key(second: DaemonUnderTest) -> None:
    text = second.config_path.read_text()
    line = text[: text.index("[docker]")].count("\n") + 2
    second.config_path.write_text(text.replace("[docker]\n", "[docker]\nsokcet = 1\n"))
    await refused(second, str(second.config_path), "docker.sokcet", str(line), code=2)
    assert not (second.root / "state").exists()


async def test_sockets_stale_and_live(daemon: DaemonUnderTest) -> None:
    other = DaemonUnderTest({"docker": {"socket": str(daemon.socket("docker"))}})
    try:
        await refused(other, str(daemon.socket("docker")), code=1)
        assert (await daemon.docker("version", "--format", "{{.Server.Version}}")).stdout
        assert not other.socket("admin").exists(), "no door is left open"
        await refused(
            same_state := DaemonUnderTest({"daemon": {"state_dir": str(daemon.root / "state")}}),
            "another daemon",
            code=1,
        )
        shutil.rmtree(same_state.root)
    finally:
        await other.purge()
    await daemon.kill9()
    for door in ("cri", "docker", "containerd", "admin"):
        with socket.socket(socket.AF_UNIX) as left, pytest.raises(ConnectionRefusedError):
            left.connect(str(daemon.socket(door)))
    await daemon.start()
    await daemon.docker("ps")


async def test_a_missing_binary_is_named_with_its_package(
    busybox_archive: Path, tmp_path: Path
) -> None:
    """Said by check, and by the container that needs it. The daemon runs, so that it can be asked."""
    conmon = str(tmp_path / "conmon")
    settings = {"runtime": {"conmon": conmon}}
    async with running_daemon(settings) as daemon, docker_client(daemon.socket("docker")) as docker:
        await daemon.cli("-n", "moby", "images", "import", str(busybox_archive))
        checked = await daemon.cli("check", check=False)
        assert checked.returncode == 1
        assert "apt-get install conmon" in checked.stdout
        _, created = await docker.post("/containers/create", json={"Image": "busybox"})
        status, said = await docker.post(f"/containers/{created['Id']}/start")
        assert (status, one_line(conmon, said["message"])) == (500, True)
        assert "package conmon" in said["message"]
        await docker.delete(f"/containers/{created['Id']}")


async def test_missing_binaries_over_cri(busybox_archive: Path, tmp_path: Path) -> None:
    """A pod that needs the one, a container that needs the other: refused by name, and nothing is left of them."""
    conmon, catatonit = str(tmp_path / "conmon"), str(tmp_path / "catatonit")
    settings = {"runtime": {"conmon": conmon, "catatonit": catatonit}}
    async with (
        running_daemon(settings) as daemon,
        cri_client(daemon.socket("cri"), daemon.root / "pods") as cri,
        docker_client(daemon.socket("docker")) as docker,
    ):
        await daemon.cli("-n", "k8s.io", "images", "import", str(busybox_archive))
        checked = await daemon.cli("check", check=False)
        assert "apt-get install" in checked.stdout
        assert "catatonit" in checked.stdout
        shared = pb.LinuxPodSandboxConfig(
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=pb.NamespaceOption(pid=pb.NamespaceMode.POD)
            )
        )
        with pytest.raises(GRPCError) as caught:
            await cri.run_pod(cri.pod_config("shared", linux=shared))
        assert one_line("conmon", caught.value.message) or one_line(
            "catatonit", caught.value.message
        )
        assert caught.value.status is Status.FAILED_PRECONDITION
        assert "package" in str(caught.value.message)
        assert "default/shared" in daemon.log()
        owners = await listed(cri, docker)
        assert (owners.all, unowned(daemon, owners)) == (set(), [])
        private = pb.LinuxPodSandboxConfig(
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER)
            )
        )
        config = cri.pod_config("private", linux=private)
        pod = await cri.run_pod(config)
        container = await cri.create(pod, config, "main", ["true"])
        with pytest.raises(GRPCError) as caught:
            await cri.start(container)
        assert caught.value.status is Status.FAILED_PRECONDITION
        assert one_line(conmon, caught.value.message)
        assert "package conmon" in str(caught.value.message)
        status = await cri.status(container)
        assert (status.state, status.reason) == (
            pb.ContainerState.CONTAINER_EXITED,
            "ContainerCannotRun",
        )
        assert unowned(daemon, await listed(cri, docker)) == []
        await cri.remove_pod(pod)
        owners = await listed(cri, docker)
        assert (owners.all, unowned(daemon, owners)) == (set(), [])
