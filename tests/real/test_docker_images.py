"""Images of many kinds through the docker CLI, skopeo and plain HTTP: what each of them sees is the same."""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.real.clients import DockerClient, docker_client
from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.oci_images import (
    MadeImage,
    index_of,
    layer_tar,
    publish,
    put_manifest,
    sha256,
)
from tests.real.registry import (
    PASSWORD,
    USER,
    RegistryUnderTest,
    make_certificates,
    running_registry,
)

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

BASE = layer_tar({"bin/": b"", "bin/tool": b"t" * 90_000})
APP = MadeImage([BASE, layer_tar({"etc/x": b"1"})], config={"Labels": {"team": "blue"}})
NEWER = MadeImage([BASE, layer_tar({"etc/x": b"22"})])
ARM = MadeImage([layer_tar({"arm": b"1"})], architecture="arm64")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RegistryUnderTest]:
    async with running_registry(tmp_path_factory.mktemp("registry")) as running:
        await publish(running.url, "library/app", "1", APP)
        await publish(running.url, "library/app", "2", NEWER)
        for image in (APP, ARM):
            await publish(running.url, "library/many", image.architecture, image)
        media_type, data = index_of([APP, ARM])
        await put_manifest(running.url, "library/many", "1", media_type, data)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(registry: RegistryUnderTest) -> AsyncIterator[DaemonUnderTest]:
    """The registry is its mirror of Docker Hub."""
    async with running_daemon() as running:
        folder = running.certs_d / "docker.io"
        folder.mkdir()
        (folder / "hosts.toml").write_text(
            f'[host."{registry.url}"]\ncapabilities = ["pull", "resolve"]\n'
        )
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def docker(daemon: DaemonUnderTest) -> AsyncIterator[DockerClient]:
    """No image is there before or after a test."""
    async with docker_client(daemon.socket("docker")) as client:
        yield client
        for image in (await client.get("/images/json"))[1]:
            assert (await client.delete(f"/images/{image['Id']}", force="1"))[0] == 200


async def inspected(daemon: DaemonUnderTest, name: str) -> Any:
    return json.loads((await daemon.docker("image", "inspect", name)).stdout)[0]


async def test_figures_agree(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    for name in ("app:1", "app:2"):
        await daemon.docker("pull", "-q", name)
    _, listed = await docker.get("/images/json", **{"shared-size": "1", "manifests": "1"})
    _, usage = await docker.get("/system/df", type="image")
    by_id = {image["Id"]: image for image in listed}
    assert set(by_id) == {APP.id, NEWER.id}
    assert {i["Id"]: (i["Size"], i["SharedSize"]) for i in usage["Images"]} == {
        id: (image["Size"], image["SharedSize"]) for id, image in by_id.items()
    }
    shared = by_id[APP.id]["SharedSize"]
    assert 0 < shared < by_id[APP.id]["Size"]
    assert usage["LayersSize"] == sum(image["Size"] for image in listed) - shared
    for made, name in ((APP, "app:1"), (NEWER, "app:2")):
        _, shown = await docker.get(f"/images/{name}/json", manifests="1")
        assert (shown["Id"], shown["RepoTags"]) == (made.id, [name])
        assert shown["RepoDigests"] == [f"app@{made.digest}"] == by_id[made.id]["RepoDigests"]
        assert shown["Descriptor"] == by_id[made.id]["Descriptor"]
        assert (shown["Descriptor"]["digest"], shown["Descriptor"]["size"]) == (
            made.digest,
            len(made.manifest),
        )
        assert shown["Size"] == by_id[made.id]["Size"]
        _, history = await docker.get(f"/images/{name}/history")
        assert sum(step["Size"] for step in history) == shown["Size"]
        assert history[0]["Id"] == made.id
        assert shown["RootFS"]["Layers"] == [sha256(layer) for layer in made.layers]
        source = f"docker-daemon:{name}"
        host = ("--daemon-host", daemon.docker_host)
        config = await daemon.run("skopeo", "inspect", "--config", "--raw", *host, source)
        assert sha256(config.stdout.encode()) == made.id
        seen = json.loads((await daemon.run("skopeo", "inspect", *host, source)).stdout)
        assert seen["Layers"] == shown["RootFS"]["Layers"]


async def test_skopeo_takes_and_brings(
    daemon: DaemonUnderTest, registry: RegistryUnderTest, tmp_path: Path
) -> None:
    await daemon.docker("pull", "-q", "app:1")
    archive, layout = f"docker-archive:{tmp_path}/a.tar", f"oci:{tmp_path}/layout"
    for target in (f"{archive}:x:1", f"{layout}:x"):
        await daemon.run(
            "skopeo", "copy", "--src-daemon-host", daemon.docker_host,
            "docker-daemon:app:1", target,
        )  # fmt: skip
    remote = f"docker://{registry.authority}/library/app:2"
    for source, name in ((archive, "of-archive:1"), (layout, "of-layout:1"), (remote, "remote:1")):
        await daemon.run(
            "skopeo", "copy", "--src-tls-verify=false", "--dest-daemon-host", daemon.docker_host,
            source, f"docker-daemon:{name}",
        )  # fmt: skip
    layers = (await inspected(daemon, "app:1"))["RootFS"]["Layers"]
    assert (await inspected(daemon, "of-archive:1"))["Id"] == APP.id
    assert (await inspected(daemon, "of-layout:1"))["RootFS"]["Layers"] == layers
    assert (await inspected(daemon, "remote:1"))["Id"] == NEWER.id


def layout_of_both() -> bytes:
    """An OCI layout whose one image is for two platforms."""
    media_type, data = index_of([APP, ARM])
    entry = {
        "mediaType": media_type,
        "digest": sha256(data),
        "size": len(data),
        "annotations": {"io.containerd.image.name": "docker.io/library/both:1"},
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
    }
    for blob in (data, *(b for i in (APP, ARM) for b in (i.manifest, *i.blobs))):
        files[f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"] = blob
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def test_by_platform(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    media_type, index = index_of([APP, ARM])
    status, distribution = await docker.get("/distribution/many:1/json")
    assert status == 200
    assert distribution["Descriptor"] == {
        "mediaType": media_type,
        "digest": sha256(index),
        "size": len(index),
    }
    assert [p["architecture"] for p in distribution["Platforms"]] == ["amd64", "arm64"]
    arm = ("--platform", "linux/arm64")
    await daemon.docker("pull", "-q", *arm, "many:1")
    shown = await inspected(daemon, "many:1")
    assert (shown["Id"], shown["Architecture"]) == (ARM.id, "arm64")
    assert shown["RepoDigests"] == [f"many@{sha256(index)}"]
    await daemon.docker("pull", "-q", "many:1")
    assert (await inspected(daemon, "many:1"))["Id"] == APP.id
    await daemon.docker("pull", "-q", f"many@{ARM.digest}", *arm)
    assert (await inspected(daemon, f"many@{ARM.digest}"))["Id"] == ARM.id

    async def ask(
        method: str, path: str, query: dict[str, str], data: bytes | None = None
    ) -> tuple[int, bytes]:
        """Debian's docker CLI can name no platform here."""
        url = f"http://docker/v1.51/images/{path}"
        async with docker.session.request(method, url, params=query, data=data) as response:
            return response.status, await response.read()

    amd64, arm64 = (
        {"platform": json.dumps({"os": "linux", "architecture": architecture})}
        for architecture in ("amd64", "arm64")
    )
    none: dict[str, str] = {}
    for chosen, made in ((arm64, ARM), (amd64, APP), (none, APP)):
        status, told = await ask("POST", "load", chosen, layout_of_both())
        assert (status, b"Loaded image: both:1" in told) == (200, True), told
        assert (await inspected(daemon, "both:1"))["Id"] == made.id
    status, saved = await ask("GET", "both:1/get", amd64)
    assert status == 200
    for method, path, data in (
        ("GET", "both:1/get", None),
        ("POST", "load", saved),
        ("GET", "both:1/json", None),
    ):
        status, told = await ask(method, path, arm64, data)
        assert b"linux/arm64" in told, (path, status, told)
        assert status == 200 if path == "load" else status == 404, (path, told)


async def test_a_whole_repository(daemon: DaemonUnderTest, registry: RegistryUnderTest) -> None:
    out = (await daemon.docker("pull", "-a", "app")).stdout
    digests = {line for line in out.splitlines() if line.startswith("Digest: ")}
    assert digests == {f"Digest: {APP.digest}", f"Digest: {NEWER.digest}"}
    copy = f"{registry.authority}/team/copy"
    for tag in ("1", "2"):
        await daemon.docker("tag", f"app:{tag}", f"{copy}:{tag}")
    out = (await daemon.docker("push", "-a", copy)).stdout
    for tag, made in (("1", APP), ("2", NEWER)):
        assert f"{tag}: digest: {made.digest} size: {len(made.manifest)}" in out
    out = (await daemon.docker("push", f"{copy}:2")).stdout
    assert out.count("Layer already exists") == 2
    for name, words in (
        (f"{copy}:3", f"tag does not exist: {copy}:3"),
        ("nope:1", "An image does not exist locally with the tag: nope"),
    ):
        done = await daemon.docker("push", name, check=False)
        assert (done.returncode, words in done.stderr) == (1, True)

    listing = ("search", "--format", "{{.Name}} {{.IsOfficial}}")
    found = (await daemon.docker(*listing, "--limit", "2", "app")).stdout
    assert found.splitlines() == ["app [OK]"]
    assert (await daemon.docker(*listing, f"{registry.authority}/copy")).stdout == ("team/copy \n")
    done = await daemon.docker(*listing, "--limit", "200", "app", check=False)
    assert "outside the range of [1, 100]" in done.stderr

    saved = (await daemon.run("sh", "-c", "docker save app | tar -xO manifest.json")).stdout
    tags = sorted(entry["RepoTags"] for entry in json.loads(saved))
    assert tags == [["app:1"], ["app:2"]]
    out = (await daemon.docker("rmi", "app:1", "app:2", f"{copy}:1", f"{copy}:2")).stdout
    assert out.count("Deleted: ") == 2 + 3


async def test_an_import(daemon: DaemonUnderTest) -> None:
    changes = ("-c", 'CMD ["tool", "x"]', "-c", "ENV A=b C=d", "-c", "LABEL team=red")
    out = await daemon.docker("import", *changes, "-m", "a note", "-", "made:1", stdin=BASE)
    shown = await inspected(daemon, "made:1")
    assert out.stdout.strip() == shown["Id"]
    assert shown["Config"]["Cmd"] == ["tool", "x"]
    assert shown["Config"]["Env"] == ["A=b", "C=d"]
    assert shown["Config"]["Labels"] == {"team": "red"}
    assert shown["Comment"] == "a note"
    assert shown["RootFS"]["Layers"] == [sha256(BASE)]
    assert "a note" in (await daemon.docker("history", "made:1")).stdout
    done = await daemon.docker("import", "-c", "FROM x", "-", stdin=BASE, check=False)
    assert (done.returncode, "is not a valid change command" in done.stderr) == (1, True)


async def test_what_happens_is_told(
    daemon: DaemonUnderTest, registry: RegistryUnderTest, tmp_path: Path
) -> None:
    since = f"{time.time():.6f}"
    copy, saved = f"{registry.authority}/told:1", tmp_path / "saved.tar"
    await daemon.docker("pull", "-q", "app:1")
    await daemon.docker("tag", "app:1", copy)
    await daemon.docker("push", "-q", copy)
    await daemon.docker("save", "-o", str(saved), "app:1")
    await daemon.docker("rmi", "-f", APP.id)
    await daemon.docker("load", "-q", "-i", str(saved))
    made = (await daemon.docker("import", "-", "made:1", stdin=BASE)).stdout.strip()
    await daemon.docker("image", "prune", "-af")
    expected = [
        ("pull", "app:1", {"name": "app", "team": "blue"}),
        ("tag", APP.id, {"name": copy, "team": "blue"}),
        ("push", copy, {"name": copy.rpartition(":")[0], "team": "blue"}),
        ("save", APP.id, {"name": APP.id, "team": "blue"}),
        *[("untag", APP.id, {"name": APP.id, "team": "blue"})] * 4,
        ("delete", APP.id, {"name": APP.id}),
        ("load", APP.id, {"name": APP.id, "team": "blue"}),
        ("import", made, {"name": made}),
        *[("delete", id, {"name": id}) for id in (APP.id, made)],
    ]

    async def told(*arguments: str) -> list[tuple[str, str, dict[str, str]]]:
        until = f"{time.time():.6f}"
        out = await daemon.docker(
            "events", "--format", "{{json .}}", "--since", since, "--until", until, *arguments
        )
        events = [json.loads(line) for line in out.stdout.splitlines()]
        return [(e["Action"], e["Actor"]["ID"], e["Actor"]["Attributes"]) for e in events]

    images = await told("-f", "type=image")
    assert [event for event in images if event[0] != "prune"][:11] == expected[:11]
    assert [event for event in images if event[0] == "delete"][1:] == expected[-2:]
    assert images[-1][0] == "prune"
    assert await told("-f", "type=image", "-f", "event=save") == [expected[3]]
    blue = await told("-f", "label=team=blue")
    assert {action for action, _, _ in blue} == {"pull", "tag", "push", "save", "untag", "load"}
    await daemon.restart()
    assert await told("-f", "type=image") == images


async def test_a_closed_registry_with_a_private_ca(
    daemon: DaemonUnderTest, registry: RegistryUnderTest, tmp_path: Path
) -> None:
    certificates = await make_certificates(tmp_path / "tls")
    async with running_registry(
        tmp_path / "closed", storage=registry.storage, certificates=certificates, basic_auth=True
    ) as closed:
        name = f"{closed.authority}/library/app:1"

        async def refused(*command: str, stdin: bytes | None = None) -> str:
            done = await daemon.docker(*command, stdin=stdin, check=False)
            assert done.returncode != 0
            return done.stderr

        # Loopback is taken for insecure, as dockerd does, until a CA is configured for it: a wrong one here.
        folder = daemon.certs_d / closed.authority
        folder.mkdir()
        other = await make_certificates(tmp_path / "other")
        (folder / "ca.crt").write_bytes(other.ca.read_bytes())
        assert "certificate is not accepted" in await refused("pull", name)
        (folder / "ca.crt").write_bytes(certificates.ca.read_bytes())

        assert "pull access denied" in await refused("pull", name)
        login = ("login", "-u", USER, "--password-stdin", closed.authority)
        assert "unauthorized" in (await refused(*login, stdin=b"wrong")).lower()
        out = (await daemon.docker(*login, stdin=PASSWORD.encode())).stdout
        assert "Login Succeeded" in out
        assert APP.digest in (await daemon.docker("pull", name)).stdout
        mine = f"{closed.authority}/mine:1"
        await daemon.docker("tag", name, mine)
        assert APP.digest in (await daemon.docker("push", mine)).stdout
        await daemon.docker("logout", closed.authority)
        assert "unauthorized" in await refused("push", mine)
        # What one client may read is not for another that shows no credentials, though the bytes are here.
        await daemon.docker("rmi", name)
        assert "pull access denied" in await refused("pull", name)


async def test_a_prune_leaves_what_is_used_its_last_name(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    for name in ("app:1", "app:2"):
        await daemon.docker("pull", "-q", name)
    for tag in ("z", "b"):
        await daemon.docker("tag", "app:1", f"app:{tag}")
    _, created = await docker.post("/containers/create", json={"Image": APP.id, "Cmd": ["x"]})
    filters = {"filters": '{"dangling":["true"]}'}
    assert (await docker.post("/images/prune", **filters))[1]["ImagesDeleted"] is None
    filters = {"filters": '{"dangling":["false"]}'}
    _, pruned = await docker.post("/images/prune", **filters)
    untagged = {item["Untagged"] for item in pruned["ImagesDeleted"] if "Untagged" in item}
    deleted = {item["Deleted"] for item in pruned["ImagesDeleted"] if "Deleted" in item}
    assert untagged == {"app:1", "app:b", "app:2", f"app@{NEWER.digest}"}
    assert NEWER.id in deleted
    assert APP.id not in deleted
    assert pruned["SpaceReclaimed"] > 0
    assert (await inspected(daemon, APP.id))["RepoTags"] == ["app:z"]
    await docker.delete(f"/containers/{created['Id']}")
    _, pruned = await docker.post("/images/prune", **filters)
    assert {"Untagged": "app:z"} in pruned["ImagesDeleted"]
    assert (await docker.get("/images/json"))[1] == []
