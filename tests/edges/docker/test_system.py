"""System endpoints, and those of what this engine has none of."""

import json

import pytest

from sharedrt.edges.docker import DockerSettings
from sharedrt.model.drivers import ConfiguredRegistries, RegistryView
from tests.edges.docker.conftest import DoorUnderTest, open_door


async def test_version(door: DoorUnderTest) -> None:
    _, version, _ = await door.call("GET", "/version")
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.51", "1.24")
    assert version["Version"] == "0.1.0"
    assert [c["Name"] for c in version["Components"]] == ["Engine", "crun", "conmon"]


async def test_info_counts(door: DoorUnderTest) -> None:
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    await door.call("POST", "/containers/create", {"Image": "busybox"})
    _, info, _ = await door.call("GET", "/info")
    assert (info["Containers"], info["ContainersRunning"], info["ContainersStopped"]) == (2, 1, 1)
    assert info["Images"] == 1
    assert (info["NCPU"], info["MemTotal"]) == (4, 8 << 30)
    assert info["DefaultRuntime"] == "crun"
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["Debug"] is False
    assert "DiscoveredDevices" in info
    assert "DiscoveredDevices" not in (await door.call("GET", "/v1.49/info"))[1]


async def test_registries_and_proxies_as_they_are_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy.example:3128/x")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    hub = RegistryView("docker.io", ("https://near.example/",), True)
    lan = RegistryView("lan.example:5000", (), False)
    registries = ConfiguredRegistries((hub, lan), ("10.0.0.0/8",), ("a file is wrong",))
    async with open_door(DockerSettings(registries=lambda: registries)) as door:
        _, info, _ = await door.call("GET", "/info")
    config = info["RegistryConfig"]
    assert config["Mirrors"] == ["https://near.example/"]
    assert config["InsecureRegistryCIDRs"] == ["10.0.0.0/8"]
    assert config["IndexConfigs"] == {
        "docker.io": {
            "Name": "docker.io",
            "Mirrors": ["https://near.example/"],
            "Secure": True,
            "Official": True,
        },
        "lan.example:5000": {
            "Name": "lan.example:5000",
            "Mirrors": [],
            "Secure": False,
            "Official": False,
        },
    }
    assert info["Warnings"] == ["a file is wrong"]
    assert info["HttpProxy"] == "http://xxxxx:xxxxx@proxy.example:3128/x"
    assert info["HttpsProxy"] == "http://proxy.example:3128"


async def test_address_pools_are_told_with_the_subnets_that_they_are_cut_into() -> None:
    pools = ("172.30.0.0/15", "10.0.0.0/27", "fd00::/48")
    async with open_door(DockerSettings(address_pools=pools, debug=True)) as door:
        _, info, _ = await door.call("GET", "/info")
    assert [pool["Size"] for pool in info["DefaultAddressPools"]] == [22, 27, 64]
    assert info["Debug"] is True


async def test_cdi_devices_are_told_as_they_are_now() -> None:
    devices = ["v.com/c=a"]
    settings = DockerSettings(cdi_dirs=("/etc/cdi",), cdi_devices=lambda: devices)
    async with open_door(settings) as door:
        _, info, _ = await door.call("GET", "/info")
        assert info["CDISpecDirs"] == ["/etc/cdi"]
        assert info["DiscoveredDevices"] == [{"Source": "cdi", "ID": "v.com/c=a"}]
        devices.append("v.com/c=b")
        _, info, _ = await door.call("GET", "/info")
        assert len(info["DiscoveredDevices"]) == 2


async def test_disk_usage(door: DoorUnderTest) -> None:
    await door.create()
    _, usage, _ = await door.call("GET", "/system/df")
    assert usage["LayersSize"] == 2000
    assert usage["Images"][0]["Containers"] == 1
    assert usage["Containers"][0]["SizeRootFs"] == 2100
    assert "BuilderSize" in (await door.call("GET", "/v1.41/system/df"))[1]
    _, usage, _ = await door.call("GET", "/system/df?type=container")
    assert usage["Images"] is None
    assert (await door.call("GET", "/system/df?type=odd"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/swarm", 503, "This node is not a swarm manager"),
        ("GET", "/nodes", 503, "This node is not a swarm manager"),
        ("GET", "/services/x", 503, "This node is not a swarm manager"),
        ("POST", "/secrets/create", 503, "This node is not a swarm manager"),
        ("POST", "/swarm/leave", 503, "not part of a swarm"),
        ("POST", "/swarm/init", 501, "swarm mode is not supported"),
        ("GET", "/plugins/x/json", 404, 'plugin "x" not found'),
        ("POST", "/session", 400, "no upgrade proto in request"),
        ("PUT", "/volumes/x", 503, "This node is not a swarm manager"),
        ("GET", "/volumes/x", 404, "get x: no such volume"),
    ],
)
async def test_what_there_is_none_of(
    door: DoorUnderTest, method: str, path: str, status: int, words: str
) -> None:
    got, value, _ = await door.call(method, path)
    assert got == status
    assert words in value["message"]


@pytest.mark.parametrize(
    ("protocol", "status", "words"),
    [("h2c", 501, "BuildKit session"), ("foo", 400, "protocol foo not supported")],
)
async def test_sessions_are_refused(
    door: DoorUnderTest, protocol: str, status: int, words: str
) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": protocol}
    async with door.http.post("http://docker/session", headers=headers) as response:
        assert response.status == status
        assert words in (await response.json())["message"]


async def test_empty_lists(door: DoorUnderTest) -> None:
    assert (await door.call("GET", "/plugins"))[1] == []
    assert (await door.call("GET", "/volumes"))[1] == {"Volumes": [], "Warnings": None}
    assert (await door.call("POST", "/volumes/prune"))[1]["VolumesDeleted"] == []


async def test_every_documented_route_is_answered(door: DoorUnderTest) -> None:
    """Nothing of the Engine API 1.51 is an unknown page, whether it is done or refused."""
    for method, path in ENDPOINTS:
        filled = path.replace("{id}", "nope").replace("{name}", "nope")
        async with door.http.request(method, f"http://docker/v1.51{filled}", json={}) as response:
            text = await response.text()
            assert "page not found" not in text, f"{method} {path}"
            assert response.status != 500, f"{method} {path}: {text}"
            if response.status >= 400 and method != "HEAD":
                assert response.content_type == "application/json", f"{method} {path}"
                assert json.loads(text).keys() == {"message"}, f"{method} {path}: {text}"
                assert json.loads(text)["message"], f"{method} {path}"


@pytest.mark.parametrize("query", ["limit=many", "filters=[", 'filters={"nope":["x"]}', "tail=x"])
async def test_every_documented_route_refuses_nonsense_in_dockers_shape(
    door: DoorUnderTest, query: str
) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path in ENDPOINTS:
        filled = path.replace("{id}", "nope").replace("{name}", "nope")
        url = f"http://docker/v1.51{filled}?{query}"
        async with door.http.request(method, url, data=b"{broken", headers=headers) as response:
            text = await response.text()
            assert response.status != 500, f"{method} {path}: {text}"
            if response.status >= 400 and method != "HEAD":
                assert json.loads(text)["message"], f"{method} {path}"


ENDPOINTS_TEXT = """
GET /containers/json
POST /containers/create
GET /containers/{id}/json
GET /containers/{id}/top
GET /containers/{id}/logs
GET /containers/{id}/changes
GET /containers/{id}/export
GET /containers/{id}/stats
POST /containers/{id}/resize
POST /containers/{id}/start
POST /containers/{id}/stop
POST /containers/{id}/restart
POST /containers/{id}/kill
POST /containers/{id}/update
POST /containers/{id}/rename
POST /containers/{id}/pause
POST /containers/{id}/unpause
POST /containers/{id}/wait
DELETE /containers/{id}
HEAD /containers/{id}/archive
GET /containers/{id}/archive
PUT /containers/{id}/archive
POST /containers/prune
GET /images/json
POST /build
POST /build/prune
POST /images/create
GET /images/{name}/json
GET /images/{name}/history
POST /images/{name}/push
POST /images/{name}/tag
DELETE /images/{name}
GET /images/search
POST /images/prune
POST /auth
GET /info
GET /version
GET /_ping
HEAD /_ping
POST /commit
GET /system/df
GET /images/{name}/get
GET /images/get
POST /images/load
POST /containers/{id}/exec
POST /exec/{id}/resize
GET /exec/{id}/json
GET /volumes
POST /volumes/create
GET /volumes/{name}
PUT /volumes/{name}
DELETE /volumes/{name}
POST /volumes/prune
GET /networks
GET /networks/{id}
DELETE /networks/{id}
POST /networks/create
POST /networks/{id}/connect
POST /networks/{id}/disconnect
POST /networks/prune
GET /plugins
GET /plugins/privileges
POST /plugins/pull
GET /plugins/{name}/json
DELETE /plugins/{name}
POST /plugins/{name}/enable
POST /plugins/{name}/disable
POST /plugins/{name}/upgrade
POST /plugins/create
POST /plugins/{name}/push
POST /plugins/{name}/set
GET /nodes
GET /nodes/{id}
DELETE /nodes/{id}
POST /nodes/{id}/update
GET /swarm
POST /swarm/init
POST /swarm/join
POST /swarm/leave
POST /swarm/update
GET /swarm/unlockkey
POST /swarm/unlock
GET /services
POST /services/create
GET /services/{id}
DELETE /services/{id}
POST /services/{id}/update
GET /services/{id}/logs
GET /tasks
GET /tasks/{id}
GET /tasks/{id}/logs
GET /secrets
POST /secrets/create
GET /secrets/{id}
DELETE /secrets/{id}
POST /secrets/{id}/update
GET /configs
POST /configs/create
GET /configs/{id}
DELETE /configs/{id}
POST /configs/{id}/update
GET /distribution/{name}/json
POST /session
"""
ENDPOINTS = [line.split() for line in ENDPOINTS_TEXT.splitlines() if line]
