"""Images of many kinds through the docker CLI, skopeo and plain HTTP: what each of them sees is the same."""

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.real.building import build
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


@contextlib.asynccontextmanager
async def web_server(answers: Mapping[str, object]) -> AsyncIterator[str]:
    """``http://127.0.0.1:PORT``: what lies there by path, or the status that it answers with."""

    async def get(request: web.Request) -> web.Response:
        found = answers[request.path]
        if isinstance(found, int):
            return web.Response(status=found, text="gone fishing")
        assert isinstance(found, bytes)
        return web.Response(body=found)

    app = web.Application()
    app.router.add_get("/{path:.*}", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_import_by_url(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    packed = gzip.compress(BASE)
    answers = {"/base.tar.gz": packed, "/odd": b"x" * 3000, "/gone": 404, "/shut": 403}
    async with web_server(answers) as url:
        source = f"{url}/base.tar.gz"
        out = (await daemon.docker("import", "-c", "CMD a", source, "made:1")).stdout.splitlines()
        shown = await inspected(daemon, "made:1")
        assert out[0] == f"Downloading from {source}"
        assert out[-1] == shown["Id"]
        assert shown["RootFS"]["Layers"] == [sha256(BASE)]
        assert (shown["Comment"], shown["Config"]["Cmd"]) == (
            f"Imported from {source}",
            ["/bin/sh", "-c", "a"],
        )
        # Without a scheme, as dockerd takes it; the CLI would look for a file.
        bare = source.removeprefix("http://")
        named = {"fromSrc": bare, "repo": "made", "tag": "2", "message": "a note"}
        _, told = await docker.told("/images/create", **named)
        size = len(packed)
        assert told[1]["status"] == "Importing"
        assert told[-2]["progressDetail"] == {"current": size, "total": size}
        assert (await inspected(daemon, "made:2"))["Comment"] == "a note"

        async def refused(source: str) -> tuple[int, str]:
            status, told = await docker.told("/images/create", fromSrc=source, repo="no")
            return status, told[-1]["message" if status >= 400 else "error"]

        words = f"failed to GET {url}/gone with status 404 Not Found"
        assert await refused(f"{url}/gone") == (404, words)
        assert (await refused(f"{url}/shut"))[0] == 403
        # After it has begun the answer's status is out: the stream's last message tells.
        status, text = await refused(f"{url}/odd")
        assert (status, "archive" in text) == (200, True)
        assert (await refused("http://127.0.0.1:1/x"))[0] == 500
        assert (await refused("ftp://127.0.0.1/x"))[0] == 400
        names = {
            name for image in (await docker.get("/images/json"))[1] for name in image["RepoTags"]
        }
        assert names == {"made:1", "made:2"}


async def test_networks_that_nothing_is_fetched_from(tmp_path: Path) -> None:
    settings = {"downloads": {"denied_networks": ["127.0.0.1/32"]}}
    async with web_server({"/base.tar": BASE}) as url, running_daemon(settings) as closed:
        done = await closed.docker("import", f"{url}/base.tar", check=False)
        assert "127.0.0.1 is in a network that is not fetched from" in done.stderr
        done = await build(closed, tmp_path, f"FROM scratch\nADD {url}/base.tar /\n", check=False)
        assert "127.0.0.1 is in a network that is not fetched from" in done.stderr
        assert (await closed.docker("images", "-q")).stdout == ""


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


# ---------------------------------------------------------------- the messages of a transfer


async def test_a_pull_tells_of_each_layer(docker: DockerClient) -> None:
    status, told = await docker.told("/images/create", fromImage="app", tag="1")
    assert status == 200
    assert told[0] == {"status": "Pulling from library/app", "id": "1"}
    for blob in APP.layer_blobs:
        id = sha256(blob)[7:19]
        of_layer = [message for message in told if message.get("id") == id]
        assert of_layer[0]["status"] == "Pulling fs layer"
        assert of_layer[-1]["status"] == "Pull complete"
        for message in of_layer:
            if message["status"] == "Downloading":
                assert message["progressDetail"]["total"] == len(blob)
                assert message["progress"].startswith("[")
    assert [message["status"] for message in told[-2:]] == [
        f"Digest: {APP.digest}",
        "Status: Downloaded newer image for app:1",
    ]
    _, told = await docker.told("/images/create", fromImage="app", tag="2")
    shared = sha256(APP.layer_blobs[0])[7:19]
    assert {"status": "Already exists", "progressDetail": {}, "id": shared} in told
    _, told = await docker.told("/images/create", fromImage="app", tag=APP.digest)
    assert told[-1]["status"] == f"Status: Image is up to date for app@{APP.digest}"
    # A name alone is all its tags.
    _, told = await docker.told("/images/create", fromImage="app")
    assert {m["status"] for m in told if m["status"].startswith("Digest")} == {
        f"Digest: {APP.digest}",
        f"Digest: {NEWER.digest}",
    }
    for name, status in (("scratch", 403), ("UPPER", 400), ("nope", 404)):
        assert (await docker.told("/images/create", fromImage=name, tag="1"))[0] == status


async def test_a_push_ends_with_its_digest(
    docker: DockerClient, registry: RegistryUnderTest
) -> None:
    await docker.told("/images/create", fromImage="app", tag="1")
    name = f"{registry.authority}/pushed"
    assert (await docker.post("/images/app:1/tag", repo=name, tag="1"))[0] == 201
    status, told = await docker.told(f"/images/{name}/push", tag="1")
    assert status == 200
    assert told[0] == {"status": f"The push refers to repository [{name}]"}
    size = len(APP.manifest)
    assert told[-2] == {"status": f"1: digest: {APP.digest} size: {size}"}
    assert told[-1]["aux"] == {"Tag": "1", "Digest": APP.digest, "Size": size}
    ends = {m["id"]: m["status"] for m in told if "id" in m}
    assert set(ends.values()) <= {"Pushed", "Layer already exists"}
    assert len(ends) == 2
    _, again = await docker.told(f"/images/{name}/push", tag="1")
    ends = {m["id"]: m["status"] for m in again if "id" in m}
    assert set(ends.values()) == {"Layer already exists"}
    _, told = await docker.told(f"/images/{name}/push", tag="none")
    assert told[-1]["error"] == f"tag does not exist: {name}:none"


async def test_registries_that_are_spoken_to_in_the_clear(
    registry: RegistryUnderTest, tmp_path: Path
) -> None:
    """Where a host other than loopback is listed as insecure, and nowhere else."""
    port = registry.authority.rpartition(":")[2]
    name = f"somewhere.test:{port}/library/app:1"
    async with running_daemon({"registry": {"insecure": [f"somewhere.test:{port}"]}}) as open_:
        listed = (await docker_info(open_))["RegistryConfig"]["IndexConfigs"]
        assert listed[f"somewhere.test:{port}"]["Secure"] is False
        folder = open_.certs_d / f"somewhere.test:{port}"
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'server = "http://{registry.authority}"\n')
        assert APP.digest in (await open_.docker("pull", name)).stdout
        (folder / "hosts.toml").write_text(f'server = "https://{registry.authority}"\n')
        done = await open_.docker("pull", name, check=False)
        assert done.returncode == 1


async def docker_info(daemon: DaemonUnderTest) -> Any:
    return json.loads((await daemon.docker("info", "--format", "{{json .}}")).stdout)


# ---------------------------------------------------------------- lists, names, removal


async def test_a_list_by_each_filter(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    ids = {}
    for number, name in enumerate(("old/one:1", "mid/two:1", "new/three:1")):
        made = await daemon.docker(
            "import", "-c", f"LABEL n={number} team=red", "-", name, stdin=BASE
        )
        ids[name] = made.stdout.strip()
    imported = await daemon.docker("import", "-c", "LABEL team=red", "-", stdin=BASE)
    loose = imported.stdout.strip()

    async def listed(*filters: str) -> set[str]:
        flags = [word for text in filters for word in ("-f", text)]
        out = await daemon.docker("images", *flags, "--format", "{{.Repository}}:{{.Tag}}")
        return set(out.stdout.split())

    one, two, three = ids
    nothing = "<none>:<none>"
    assert await listed() == {one, two, three, nothing}
    assert await listed("dangling=true") == {nothing}
    assert await listed("dangling=false") == {one, two, three}
    assert await listed("label=n=1") == {two}
    assert await listed("label=n", "label=team=red") == {one, two, three}
    assert await listed("reference=*/t*") == {two, three}
    assert await listed("reference=old/one:1", "reference=new/*:2") == {one}
    assert await listed(f"before={two}") == {one}
    assert await listed(f"since={two}") == {three, nothing}
    created = (await inspected(daemon, two))["Created"]
    assert await listed(f"until={created}") == {one}
    assert await listed("until=24h") == set()
    assert (await daemon.docker("images", "-q", "--no-trunc", "mid/two")).stdout.split() == [
        ids[two]
    ]
    for bad, words in (
        ('{"odd":["x"]}', "invalid filter 'odd'"),
        ('{"dangling":["maybe"]}', "invalid filter 'dangling=[maybe]'"),
        ('{"reference":["[a"]}', "syntax error in pattern"),
    ):
        status, answer = await docker.get("/images/json", filters=bad)
        assert (status, answer["message"]) == (400, words)
    assert (await docker.get("/images/json", filters='{"before":["nope"]}'))[0] == 404
    pruned = (await docker.post("/images/prune", filters='{"label":["n"],"dangling":["0"]}'))[1]
    assert {item["Untagged"] for item in pruned["ImagesDeleted"] if "Untagged" in item} == set(ids)
    pruned = (await docker.post("/images/prune", filters='{"label!":["team=red"]}'))[1]
    assert pruned["ImagesDeleted"] is None
    pruned = (await docker.post("/images/prune", filters='{"until":["24h"]}'))[1]
    assert pruned["ImagesDeleted"] is None
    pruned = (await docker.post("/images/prune"))[1]
    assert {"Deleted": loose} in pruned["ImagesDeleted"]


async def test_names_and_what_stops_a_removal(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await docker.told("/images/create", fromImage="app", tag="1")

    async def removed(name: str, **query: str) -> tuple[int, Any]:
        status, answer = await docker.delete(f"/images/{name}", **query)
        return status, answer if status == 200 else answer["message"]

    short = APP.id[7:19]
    for repo, tag in (("other", ""), ("third", "x")):
        assert (await docker.post("/images/app:1/tag", repo=repo, tag=tag))[0] == 201
    assert await removed("third:x") == (200, [{"Untagged": "third:x"}])
    assert await removed(short) == (
        409,
        f"conflict: unable to delete {short} (must be forced) - "
        "image is referenced in multiple repositories",
    )
    body = {"Image": "app:1", "Cmd": ["/bin/tool"]}
    _, made = await docker.post("/containers/create", json=body, name="user")
    assert await removed("other") == (200, [{"Untagged": "other:latest"}])
    user = made["Id"][:12]
    assert await removed("app:1") == (
        409,
        f'conflict: unable to remove repository reference "app:1" (must force) - container {user} '
        f"is using its referenced image {short}",
    )
    assert await removed(APP.id) == (
        409,
        f"conflict: unable to delete {short} (must be forced) - "
        f"image is being used by stopped container {user}",
    )
    # By force its names go, and the container keeps what it needs.
    status, items = await removed("app:1", force="1")
    assert (status, items) == (200, [{"Untagged": "app:1"}, {"Untagged": f"app@{APP.digest}"}])
    assert (await docker.get("/containers/user/json"))[1]["Image"] == APP.id
    assert (await docker.get(f"/images/{short}/json"))[1]["RepoTags"] == []
    await docker.delete("/containers/user")
    # Without pruning the layers below stay, which only their answer tells: no image is left.
    status, items = await removed(short, noprune="1")
    assert (status, items) == (200, [{"Deleted": APP.id}])
    assert (await docker.get("/images/json"))[1] == []
    await docker.told("/images/create", fromImage="app", tag="1")
    status, items = await removed("app:1")
    assert [item for item in items if "Untagged" in item] == [
        {"Untagged": "app:1"},
        {"Untagged": f"app@{APP.digest}"},
    ]
    assert len([item for item in items if "Deleted" in item]) == 1 + len(APP.layers)
    for name, status, words in (
        ("app:1", 404, "No such image: app:1"),
        (
            "UPPER",
            400,
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
    ):
        assert await removed(name) == (status, words)
    for repo, tag, status in (("UPPER", "x", 400), ("x", "a@b", 400), ("sha256", "x", 400)):
        assert (await docker.post("/images/app:1/tag", repo=repo, tag=tag))[0] in (status, 404)


async def test_an_image_that_runs_is_not_removed_by_force(
    daemon: DaemonUnderTest, docker: DockerClient, busybox_archive: Path
) -> None:
    await daemon.docker("load", "-q", "-i", str(busybox_archive))
    await daemon.docker(
        "run", "-d", "--name", "runs", "--network", "none", "busybox", "sleep", "99"
    )
    id = (await inspected(daemon, "busybox"))["Id"]
    container = (await daemon.docker("ps", "-q")).stdout.strip()
    done = await daemon.docker("rmi", "-f", id, check=False)
    assert (
        f"conflict: unable to delete {id[7:19]} (cannot be forced) - "
        f"image is being used by running container {container}"
    ) in done.stderr
    await daemon.docker("rm", "-f", "runs")


# ---------------------------------------------------------------- archives, registries


async def test_many_images_in_one_archive_of_two_layouts(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    for tag in ("1", "2"):
        await daemon.docker("pull", "-q", f"app:{tag}")
    await daemon.docker("tag", "app:1", "again:1")
    saved = tmp_path / "saved.tar"
    await daemon.docker("save", "-o", str(saved), "app:1", "again:1", "app:2")
    with tarfile.open(saved) as tar:
        names = set(tar.getnames())
        docker_side = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        oci_side = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert {"oci-layout", "index.json", "manifest.json"} <= names, "readers of either find theirs"
    assert sorted(sorted(entry["RepoTags"]) for entry in docker_side) == [
        ["again:1", "app:1"],
        ["app:2"],
    ]
    named = {m["annotations"]["io.containerd.image.name"] for m in oci_side["manifests"]}
    assert named == {f"docker.io/library/{name}" for name in ("app:1", "again:1", "app:2")}
    for only in ("manifest.json", "index.json"):
        # Each layout alone, as other tools write it.
        stripped = tmp_path / f"{only}.tar"
        with tarfile.open(saved) as old, tarfile.open(stripped, "w") as new:
            gone = {"manifest.json", "index.json", "oci-layout", "repositories"} - {only}
            if only == "index.json":
                gone -= {"oci-layout"}
            for info in old:
                if info.name not in gone:
                    new.addfile(info, old.extractfile(info) if info.isfile() else None)
        for image in (await docker.get("/images/json"))[1]:
            await docker.delete(f"/images/{image['Id']}", force="1")
        out = (await daemon.docker("load", "-i", str(stripped))).stdout
        loaded = {line for line in out.splitlines() if line.startswith("Loaded image")}
        assert loaded == {f"Loaded image: {name}" for name in ("app:1", "again:1", "app:2")}
        assert (await inspected(daemon, "again:1"))["Id"] == APP.id
        assert (await inspected(daemon, "app:2"))["Id"] == NEWER.id
    done = await daemon.docker("save", "app:1", "nope:1", "-o", str(saved), check=False)
    assert "No such image: nope:1" in done.stderr
    done = await daemon.docker("load", stdin=b"no tar", check=False)
    assert done.returncode == 1


async def test_what_a_registry_has(docker: DockerClient, registry: RegistryUnderTest) -> None:
    status, found = await docker.get(f"/distribution/{registry.authority}/library/app:1/json")
    assert status == 200
    assert found["Descriptor"]["digest"] == APP.digest
    assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
    for name in ("app:none", f"{registry.authority}/nope"):
        status, answer = await docker.get(f"/distribution/{name}/json")
        assert (status, answer["message"]) == (404, "manifest unknown: manifest unknown")
    assert (await docker.get("/distribution/UPPER/json"))[0] == 400
    assert (await docker.get("/images/json"))[1] == [], "nothing was pulled for it"
    _, found = await docker.get("/images/search", term=f"{registry.authority}/app", limit="1")
    assert [each["name"] for each in found] == ["library/app"]
    assert set(found[0]) == {"name", "description", "star_count", "is_official", "is_automated"}
    for query, words in (
        ({"term": ""}, "term cannot be empty"),
        ({"term": "x", "limit": "101"}, "outside the range of [1, 100]"),
        ({"term": "x", "filters": '{"odd":["1"]}'}, "invalid filter 'odd'"),
        ({"term": "http://x"}, "should not have a scheme"),
    ):
        status, answer = await docker.get("/images/search", **query)
        assert (status, words in answer["message"]) == (400, True)
