"""Images over the API: lists, filters, pulls with progress, refusals before and inside a stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sharedrt.model.drivers import FoundRepository
from sharedrt.model.faults import (
    InUse,
    InvalidArgument,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.services.images import (
    HistoryRow,
    LoadedImage,
    PullPhase,
    PullProgress,
    PushPhase,
    PushProgress,
    RemovedImage,
)
from tests.edges.docker.conftest import DoorUnderTest
from tests.edges.docker.fakes import make_image

LAYER = "sha256:" + "ab" * 32
DIGEST = Digest("sha256:" + "d" * 64)


def messages(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def pull(door: DoorUnderTest, name: str = "busybox", tag: str = "latest") -> tuple[int, str]:
    url = f"http://docker/images/create?fromImage={name}&tag={tag}"
    async with door.http.post(url) as response:
        return response.status, await response.text()


async def test_pull_tells_each_layer(door: DoorUnderTest) -> None:
    door.runtime.images.pull_steps = [
        PullProgress("busybox", PullPhase.RESOLVING),
        PullProgress(LAYER, PullPhase.PULLING_FS_LAYER),
        PullProgress(LAYER, PullPhase.DOWNLOADING, 10, 100),
        PullProgress(LAYER, PullPhase.DOWNLOADING, 100, 100),
        PullProgress(LAYER, PullPhase.VERIFYING),
        PullProgress(LAYER, PullPhase.DOWNLOAD_COMPLETE),
        PullProgress(LAYER, PullPhase.EXTRACTING, 50, 100),
        PullProgress(LAYER, PullPhase.PULL_COMPLETE),
        PullProgress("busybox", PullPhase.DIGEST, text=DIGEST),
        PullProgress("busybox", PullPhase.STATUS, text="downloaded"),
    ]
    status, text = await pull(door)
    assert status == 200
    told = messages(text)
    assert told[0] == {"status": "Pulling from library/busybox", "id": "latest"}
    words = [message["status"] for message in told if message.get("id") == "ab" * 6]
    # Figures may be left out (the newest counts), states never.
    assert [word for word in words if word not in ("Downloading", "Extracting")] == [
        "Pulling fs layer",
        "Verifying Checksum",
        "Download complete",
        "Pull complete",
    ]
    assert told[-2:] == [
        {"status": f"Digest: {DIGEST}"},
        {"status": "Status: Downloaded newer image for busybox:latest"},
    ]


async def test_pull_up_to_date(door: DoorUnderTest) -> None:
    door.runtime.images.pull_steps = [
        PullProgress("x", PullPhase.DIGEST, text=DIGEST),
        PullProgress("x", PullPhase.STATUS, text="up to date"),
    ]
    _, text = await pull(door, "reg.example:5000/team/app", "1")
    assert messages(text)[0] == {"status": "Pulling from reg.example:5000/team/app", "id": "1"}
    assert messages(text)[-1] == {
        "status": "Status: Image is up to date for reg.example:5000/team/app:1"
    }


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (NotFound("image", "x"), 404, "pull access denied for busybox"),
        (Unauthenticated("registry", "who are you"), 404, "who are you"),
        (NotFound("platform", "no matching manifest for x"), 404, "no matching manifest for x"),
        (Unavailable("registry", "connection refused"), 500, "connection refused"),
    ],
)
async def test_a_pull_that_fails_at_once_has_a_status(
    door: DoorUnderTest, fault: Exception, status: int, words: str
) -> None:
    door.runtime.images.pull_steps = [PullProgress("busybox", PullPhase.RESOLVING)]
    door.runtime.images.pull_fault = fault
    got, text = await pull(door)
    assert got == status
    assert words in json.loads(text)["message"]


async def test_a_pull_that_fails_later_tells_it_in_the_stream(door: DoorUnderTest) -> None:
    door.runtime.images.pull_steps = [PullProgress(LAYER, PullPhase.PULLING_FS_LAYER)]
    door.runtime.images.pull_fault = Unavailable("registry", "gone away")
    status, text = await pull(door)
    assert status == 200
    assert messages(text)[-1] == {
        "errorDetail": {"message": "registry: gone away"},
        "error": "registry: gone away",
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("fromImage=A%20b", 400), ("fromImage=scratch", 403)],
)
async def test_pull_requests_refused(door: DoorUnderTest, query: str, status: int) -> None:
    assert (await door.call("POST", f"/images/create?{query}"))[0] == status


async def test_pull_of_all_tags(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = []

    async def remote_tags(name: str, **_: Any) -> Sequence[str]:
        return ["1", "2"]

    async def pull_one(reference: str, **_: Any) -> None:
        pulled.append(reference)

    monkeypatch.setattr(door.runtime.images, "remote_tags", remote_tags, raising=False)
    monkeypatch.setattr(door.runtime.images, "pull", pull_one)
    assert (await door.call("POST", "/images/create?fromImage=team/app"))[0] == 200
    assert pulled == ["docker.io/team/app:1", "docker.io/team/app:2"]


async def test_distribution(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def inspect_remote(reference: str, **_: Any) -> tuple[Descriptor, Sequence[str]]:
        if "nope" in reference:
            raise NotFound("image", reference)
        if "closed" in reference:
            raise Unauthenticated("registry", "who are you")
        return Descriptor("application/x", DIGEST, 5), ["linux/arm64/v8"]

    monkeypatch.setattr(door.runtime.images, "inspect_remote", inspect_remote, raising=False)
    status, value, _ = await door.call("GET", "/distribution/team/app:1/json")
    assert (status, value) == (
        200,
        {
            "Descriptor": {"mediaType": "application/x", "digest": DIGEST, "size": 5},
            "Platforms": [{"architecture": "arm64", "os": "linux", "variant": "v8"}],
        },
    )
    assert (await door.call("GET", "/distribution/nope/json"))[0] == 404
    status, value, _ = await door.call("GET", "/distribution/closed/json")
    assert (status, value["message"]) == (401, "unauthorized: who are you")


async def test_search(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def search(host: str, term: str, limit: int, **_: Any) -> Sequence[FoundRepository]:
        asked.append((host, term, limit))
        return [
            FoundRepository("busybox", "small", 7, official=True),
            FoundRepository("a/busybox", stars=2, automated=True),
        ]

    monkeypatch.setattr(door.runtime.images, "search", search, raising=False)

    async def names(query: str) -> list[str]:
        status, found, _ = await door.call("GET", f"/images/search?{query}")
        assert status == 200, found
        return [each["name"] for each in found]

    assert await names("term=busybox") == ["busybox", "a/busybox"]
    assert await names('term=library/busybox&filters={"is-official":["true"]}') == ["busybox"]
    assert await names('term=busybox&filters={"is-automated":["1"]}') == ["a/busybox"]
    assert await names('term=reg.example/team/x&limit=3&filters={"stars":["3"]}') == ["busybox"]
    assert asked == [
        ("docker.io", "busybox", 25),
        ("docker.io", "busybox", 25),
        ("docker.io", "busybox", 25),
        ("reg.example", "team/x", 3),
    ]
    _, [first, _], _ = await door.call("GET", "/images/search?term=busybox")
    assert first == {
        "star_count": 7,
        "is_official": True,
        "name": "busybox",
        "is_automated": False,
        "description": "small",
    }
    for query in (
        "term=",
        "term=http://x/y",
        "term=x&limit=101",
        "term=x&limit=many",
        'term=x&filters={"stars":["many"]}',
        'term=x&filters={"stars":["-1"]}',
        'term=x&filters={"is-official":["perhaps"]}',
        'term=x&filters={"color":["red"]}',
    ):
        assert (await door.call("GET", f"/images/search?{query}"))[0] == 400, query


async def test_list_and_filters(door: DoorUnderTest) -> None:
    other = replace(
        make_image("docker.io/team/app:v1", {"Labels": {"l": "1"}}),
        references=("docker.io/team/app:v1", f"docker.io/team/app@{DIGEST}"),
    )
    dangling = replace(make_image("docker.io/library/old:1"), references=())
    dangling = replace(dangling, config=replace(dangling.config, created="2020-01-01T00:00:00Z"))
    door.runtime.images.images += [other, dangling]

    async def tags(filters: dict[str, Any]) -> list[list[str]]:
        status, listed, _ = await door.call("GET", f"/images/json?filters={json.dumps(filters)}")
        assert status == 200, listed
        return sorted(image["RepoTags"] for image in listed)

    assert await tags({}) == [[], ["busybox:latest"], ["team/app:v1"]]
    assert await tags({"dangling": ["true"]}) == [[]]
    assert await tags({"dangling": ["false"]}) == [["busybox:latest"], ["team/app:v1"]]
    assert await tags({"label": ["l=1"]}) == [["team/app:v1"]]
    assert await tags({"reference": ["team/*"]}) == [["team/app:v1"]]
    assert await tags({"reference": ["busy*"]}) == [["busybox:latest"]]
    assert await tags({"reference": ["*:v?"]}) == []
    assert await tags({"reference": ["team/[a-b]pp:v[^2]"]}) == [["team/app:v1"]]
    assert await tags({"before": ["busybox"]}) == [[]]
    assert await tags({"until": ["2021-01-01"]}) == [[]]
    assert await tags({"until": ["2021-01-01", "2030-01-01"]}) == [[]]
    assert await tags({"until": ["0"]}) == []
    status, value, _ = await door.call("GET", '/images/json?filters={"since":["nope"]}')
    assert (status, value["message"]) == (404, "No such image: nope:latest")
    _, listed, _ = await door.call("GET", "/images/json?shared-size=1")
    assert {image["SharedSize"] for image in listed} == {2000}
    _, listed, _ = await door.call("GET", "/v1.43/images/json")
    assert ["<none>:<none>"] in [image["RepoTags"] for image in listed]


async def test_stars_do_not_make_others_wait(door: DoorUnderTest) -> None:
    """All ways to share out the letters between the stars were tried, with the event loop standing still."""
    door.runtime.images.images.append(make_image(f"docker.io/library/{'a' * 100}:1"))
    for pattern, found in (("*a" * 30 + "*b", 0), ("*a" * 30 + "*", 1)):
        filters = json.dumps({"reference": [pattern]})
        _, listed, _ = await door.call("GET", f"/images/json?filters={filters}")
        assert len(listed) == found


async def test_inspect(door: DoorUnderTest) -> None:
    status, image, _ = await door.call("GET", "/images/busybox/json?manifests=1")
    assert status == 200
    assert image["RepoTags"] == ["busybox:latest"]
    assert image["Config"]["Cmd"] == ["sh"]
    assert image["RootFS"]["Layers"] == ["sha256:" + "b" * 64]
    assert image["Size"] == 2000
    assert image["Descriptor"]["digest"] == image["Manifests"][0]["ID"]
    assert "Descriptor" not in (await door.call("GET", "/images/busybox/json"))[1]
    assert (await door.call("GET", f"/images/{image['Id']}/json"))[0] == 200
    status, value, _ = await door.call("GET", "/images/reg.example/no/such:1/json")
    assert (status, value["message"]) == (404, "No such image: reg.example/no/such:1")


async def test_history_tag_remove(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    images = door.runtime.images
    id = images.images[0].id
    monkeypatch.setattr(
        images,
        "history",
        lambda ref: [
            HistoryRow(
                id, "2024-01-01T00:00:00Z", "CMD", "note", 5, ("docker.io/library/busybox:latest",)
            )
        ],
        raising=False,
    )
    _, history, _ = await door.call("GET", "/images/busybox/history")
    assert history == [
        {
            "Id": id,
            "Created": 1_704_067_200,
            "CreatedBy": "CMD",
            "Tags": ["busybox:latest"],
            "Size": 5,
            "Comment": "note",
        }
    ]
    tagged = []

    async def tag(source: str, target: str) -> None:
        tagged.append((source, target))

    monkeypatch.setattr(images, "tag", tag, raising=False)
    assert (await door.call("POST", "/images/busybox/tag?repo=mine/box&tag=v1"))[0] == 201
    assert tagged == [(id, "docker.io/mine/box:v1")]
    assert (await door.call("POST", "/images/busybox/tag?repo=Bad%20Name"))[0] == 400
    assert (await door.call("POST", "/images/nope/tag?repo=a"))[0] == 404
    status, value, _ = await door.call("POST", "/images/busybox/tag?repo=sha256&tag=1")
    assert (status, "ambiguous tag" in value["message"]) == (400, True)
    in_use: list[tuple[str, ...]] = []

    async def remove(ref: str, **how: Any) -> Sequence[RemovedImage]:
        in_use.append(how["in_use"](id))
        if not how["force"]:
            raise InUse("image", ref, (), "unable to delete x (must be forced) - in use")
        return [RemovedImage(untagged="docker.io/library/busybox:latest"), RemovedImage(deleted=id)]

    monkeypatch.setattr(images, "remove", remove, raising=False)
    user = await door.create()
    status, value, _ = await door.call("DELETE", "/images/busybox")
    assert (status, value["message"]) == (
        409,
        "conflict: unable to delete x (must be forced) - in use",
    )
    status, value, _ = await door.call("DELETE", "/images/busybox?force=1")
    assert (status, value) == (200, [{"Untagged": "busybox:latest"}, {"Deleted": id}])
    assert in_use == [(user,), (user,)]


async def test_push(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def push(reference: str, *, credentials: Any, progress: Any) -> Digest:
        progress(PushProgress(LAYER, PushPhase.PREPARING))
        progress(PushProgress(LAYER, PushPhase.PUSHED))
        progress(PushProgress(reference, PushPhase.DIGEST, text=DIGEST, total=528))
        return DIGEST

    monkeypatch.setattr(door.runtime.images, "push", push, raising=False)
    async with door.http.post("http://docker/images/busybox/push?tag=latest") as response:
        told = messages(await response.text())
    assert told[0] == {"status": "The push refers to repository [docker.io/library/busybox]"}
    assert {"status": "Pushed", "progressDetail": {}, "id": "ab" * 6} in told
    assert told[-2] == {"status": f"latest: digest: {DIGEST} size: 528"}
    assert told[-1]["aux"] == {"Tag": "latest", "Digest": DIGEST, "Size": 528}
    # Told in the stream, as dockerd does, which has said to what the push refers by then.
    assert await failed_push(door, "busybox/push?tag=nope") == "tag does not exist: busybox:nope"
    message = "An image does not exist locally with the tag: nope"
    assert await failed_push(door, "nope/push?tag=latest") == message
    arm = '{"os":"linux","architecture":"arm64"}'
    assert "does not match the specified platform (linux/arm64)" in await failed_push(
        door, f"busybox/push?tag=latest&platform={arm}"
    )
    assert (await door.call("POST", "/images/Bad/push"))[0] == 400


async def failed_push(door: DoorUnderTest, path: str) -> str:
    async with door.http.post(f"http://docker/images/{path}") as response:
        assert response.status == 200
        return str(messages(await response.text())[-1]["error"])


async def test_push_of_all_tags_with_old_credentials(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("docker.io/team/app:2", "docker.io/team/app:1", f"docker.io/team/app@{DIGEST}")
    door.runtime.images.images.append(replace(make_image(names[0]), references=names))
    pushed = []

    async def push(reference: str, *, credentials: Any, progress: Any) -> Digest:
        pushed.append((reference, credentials.username))
        return DIGEST

    monkeypatch.setattr(door.runtime.images, "push", push, raising=False)
    body = {"username": "u", "password": "p"}
    async with door.http.post("http://docker/images/team/app/push", json=body) as response:
        told = messages(await response.text())
    assert pushed == [("docker.io/team/app:1", "u"), ("docker.io/team/app:2", "u")]
    assert [m["aux"]["Tag"] for m in told if "aux" in m] == ["1", "2"]


async def test_load_and_save(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    received = bytearray()
    loaded_for: list[str | None] = []
    image = door.runtime.images.images[0]

    async def load(
        chunks: AsyncIterator[bytes], *, platform: str | None, progress: Any
    ) -> Sequence[LoadedImage]:
        loaded_for.append(platform)
        if progress is not None:
            progress(PullProgress(LAYER, PullPhase.EXTRACTING, 5, 10))
        async for chunk in chunks:
            received.extend(chunk)
        if received == b"garbage":
            raise InvalidArgument("archive", "", "no manifest.json")
        return [LoadedImage(image, image.references), LoadedImage(image, ())]

    async def save(names: Sequence[str]) -> AsyncIterator[bytes]:
        yield str(names).encode()

    monkeypatch.setattr(door.runtime.images, "load", load, raising=False)
    monkeypatch.setattr(door.runtime.images, "save", save, raising=False)
    headers = {"Content-Type": "application/x-tar"}
    async with door.http.post(
        "http://docker/images/load?quiet=1", data=b"tar" * 1000, headers=headers
    ) as response:
        assert messages(await response.text()) == [
            {"stream": "Loaded image: busybox:latest\n"},
            {"stream": f"Loaded image ID: {image.id}\n"},
        ]
    assert len(received) == 3000
    received.clear()
    async with door.http.post(
        "http://docker/images/load", data=b"garbage", headers=headers
    ) as response:
        assert response.status == 200
        assert "no manifest.json" in messages(await response.text())[-1]["error"]
    arm = '{"os":"linux","architecture":"arm64","variant":"v8"}'
    url = f"http://docker/images/load?platform={arm}"
    async with door.http.post(url, data=b"tar", headers=headers) as response:
        bar = messages(await response.text())[0]
    assert (bar["status"], bar["id"]) == ("Loading layer", "ab" * 6)
    assert loaded_for == [None, None, "linux/arm64/v8"]
    url = f"http://docker/images/load?platform={arm}&platform={arm}"
    assert (await door.http.post(url, data=b"tar")).status == 400
    amd = '{"os":"linux","architecture":"amd64"}'
    url = f"http://docker/images/get?names=busybox,busybox:latest&platform={amd}"
    async with door.http.get(url) as response:
        assert response.content_type == "application/x-tar"
        assert await response.text() == "['busybox', 'busybox:latest']"
    saves = [event for event in door.runtime.events.published if event[1] == "save"]
    assert [actor for _, _, actor, _ in saves] == [image.id, image.id]
    assert (await door.call("GET", f"/images/get?names=busybox&platform={arm}"))[0] == 404
    url = f"/images/get?names=busybox&platform={arm}&platform={amd}"
    status, value, _ = await door.call("GET", url)
    assert (status, value["message"]) == (400, "multiple platform parameters not supported")
    assert (await door.call("GET", "/images/get?names=busybox&platform=[]"))[0] == 400
    assert (await door.call("GET", "/images/nope/get"))[0] == 404
    assert (await door.call("GET", "/images/get"))[0] == 400


async def test_an_image_is_asked_for_by_platform(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.runtime.images, "history", lambda ref: [], raising=False)
    arm, amd = '{"os":"linux","architecture":"arm64"}', '{"os":"linux","architecture":"amd64"}'
    for path in ("json", "history"):
        assert (await door.call("GET", f"/images/busybox/{path}?platform={amd}"))[0] == 200
        status, value, _ = await door.call("GET", f"/images/busybox/{path}?platform={arm}")
        assert (status, value["message"].partition(" (")[0]) == (
            404,
            "image with reference busybox:latest was found but its platform",
        )
    assert (await door.call("DELETE", f"/images/busybox?platforms={arm}"))[0] == 404
    status, value, _ = await door.call("GET", f"/images/busybox/json?manifests=1&platform={amd}")
    assert (status, "conflicting options" in value["message"]) == (400, True)
    assert (await door.call("GET", "/images/busybox/json?platform={}"))[0] == 400


async def test_a_list_counts_containers_and_shows_manifests(door: DoorUnderTest) -> None:
    user = await door.create()
    _, [image], _ = await door.call("GET", "/v1.51/images/json?manifests=1")
    assert image["Containers"] == 1
    assert image["Manifests"][0]["ImageData"]["Containers"] == [user]
    assert image["Manifests"][0]["Descriptor"]["digest"] == image["Manifests"][0]["ID"]
    assert image["Descriptor"]["digest"] == image["Manifests"][0]["ID"]
    _, [image], _ = await door.call("GET", "/v1.46/images/json?manifests=1")
    assert "Manifests" not in image
    _, [image], _ = await door.call("GET", "/v1.50/images/json")
    assert image["Containers"] == -1
    assert image.keys().isdisjoint({"Manifests", "Descriptor"})
    _, listed, _ = await door.call("GET", "/v1.40/images/json?filter=nope")
    assert listed == []


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux", "linux/amd64"),
        ("LINUX/ARM64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("arm/v7", "arm/v7"),
        ("windows/amd64", "windows/amd64"),
        ("linux/foobar", "linux/foobar"),
        ("macos", "darwin/amd64"),
    ],
)
async def test_platforms_of_a_pull(door: DoorUnderTest, text: str, platform: str) -> None:
    assert (await door.call("POST", f"/images/create?fromImage=a&tag=1&platform={text}"))[0] == 200
    assert door.runtime.images.pulled is not None
    assert door.runtime.images.pulled[2] == platform


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foobar", '"foobar": unknown operating system or architecture'),
        ("%20%20", "is an invalid OS component"),
        ("/", "is an invalid OS component"),
        ("linux/a%20b", "is an invalid component"),
        ("a/b/c/d", "cannot parse platform specifier"),
    ],
)
async def test_no_platforms(door: DoorUnderTest, text: str, words: str) -> None:
    for source in ("fromImage=a&tag=1", "fromSrc=-"):
        status, value, _ = await door.call("POST", f"/images/create?{source}&platform={text}")
        assert (status, words in value["message"]) == (400, True)
    status, value, _ = await door.call("POST", "/images/create?fromSrc=-&platform=macos/arm64")
    assert (status, value["message"]) == (400, "operating system is not supported")


async def test_platform_of_create(door: DoorUnderTest) -> None:
    body = {"Image": "busybox"}
    for platform in ("linux/amd64", "amd64", "linux", "LINUX/AMD64"):
        status, _, _ = await door.call("POST", f"/containers/create?platform={platform}", body)
        assert status == 201, platform
    status, value, _ = await door.call("POST", "/containers/create?platform=linux/arm64", body)
    assert status == 404
    assert "does not match the specified platform (linux/arm64)" in value["message"]


async def test_the_head_of_a_load_waits_for_the_archive(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """skopeo stops sending when it sees the head."""

    async def load(chunks: AsyncIterator[bytes], **_: Any) -> Sequence[LoadedImage]:
        async for _chunk in chunks:
            pass
        raise InvalidArgument("archive", "", "no manifest.json")

    monkeypatch.setattr(door.runtime.images, "load", load, raising=False)
    reader, writer = await door.open()
    writer.write(
        b"POST /images/load HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n"
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.write(b"0\r\n\r\n")
    answer = (await reader.read()).decode()
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    assert "no manifest.json" in answer
    writer.close()
