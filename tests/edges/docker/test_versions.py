"""Version differences, one by one."""

from typing import Any

import pytest

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.versions import NEWEST, OLDEST, ApiVersion, split_version
from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.docker_filters import parse_filters
from sharedrt.wire.docker_time import ZERO_TIME

V = ApiVersion


def test_split() -> None:
    assert split_version("/v1.41/containers/json") == (V(1, 41), "/containers/json")
    assert split_version("/containers/v1.41/json") == (NEWEST, "/containers/v1.41/json")
    assert split_version("/v1.24/_ping") == (OLDEST, "/_ping")
    for path in ("/v1.9/info", "/v1.52/info", "/v0.51/info", "/v1.22/images/json"):
        with pytest.raises(InvalidArgument):
            split_version(path)


@pytest.mark.parametrize("path", ["/images/load", "/images/get", "/images/a/b:1/get"])
def test_skopeo_saves_and_loads_with_the_version_that_it_has_built_in(path: str) -> None:
    assert split_version(f"/v1.22{path}") == (V(1, 22), path)
    with pytest.raises(InvalidArgument):
        split_version(f"/v1.21{path}")


def test_info() -> None:
    def rendered() -> dict[str, Any]:
        commits = {name: {"ID": "1"} for name in ("ContainerdCommit", "RuncCommit", "InitCommit")}
        return {
            **commits,
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
            "RegistryConfig": {},
            "FirewallBackend": {},
            "DiscoveredDevices": [],
        }

    new = versions.info(V(1, 51), rendered())
    assert "BridgeNfIptables" not in new
    assert "Expected" not in new["RuncCommit"]
    old = versions.info(V(1, 48), rendered())
    assert old["RuncCommit"] == {"ID": "1", "Expected": "1"}
    assert "FirewallBackend" not in old
    assert old["SecurityOptions"] == new["SecurityOptions"]
    oldest = versions.info(V(1, 24), rendered())
    assert oldest["SecurityOptions"] == ["seccomp", "cgroupns"]


def test_updates() -> None:
    body = {"pidslimit": 5, "CpuShares": 1}
    assert versions.update_config(V(1, 39), body) == {"CpuShares": 1}
    assert versions.update_config(V(1, 40), body) == body
    assert versions.update_config(V(1, 42), {**body, "KernelMemory": 1}) == body
    assert versions.update_config(V(1, 41), {"KernelMemory": 1}) == {}


def test_what_newer_versions_read() -> None:
    assert (versions.stop_signal(V(1, 41), "TERM"), versions.stop_signal(V(1, 42), "TERM")) == (
        "",
        "TERM",
    )
    assert [versions.reads_console_size(V(1, n)) for n in (41, 42)] == [False, True]
    assert [versions.reads_one_shot(V(1, n)) for n in (40, 41)] == [False, True]


def test_read_only_binds() -> None:
    assert not versions.readonly_is_recursive(V(1, 43))
    assert versions.readonly_is_recursive(V(1, 44))


def test_stream_media_types() -> None:
    assert versions.stream_content_type(V(1, 41), tty=False).endswith("raw-stream")
    assert versions.stream_content_type(V(1, 42), tty=False).endswith("multiplexed-stream")
    assert versions.stream_content_type(V(1, 51), tty=True).endswith("raw-stream")


def test_images() -> None:
    summary: dict[str, Any] = {"Size": 5, "RepoTags": [], "RepoDigests": [], "Descriptor": {}}
    assert "Descriptor" in versions.image_summary(V(1, 48), dict(summary))
    assert "Descriptor" not in versions.image_summary(V(1, 47), dict(summary))
    assert "VirtualSize" not in versions.image_summary(V(1, 44), dict(summary))
    old = versions.image_summary(V(1, 43), dict(summary))
    assert old["VirtualSize"] == 5
    assert old["RepoTags"] == ["<none>:<none>"]
    image: dict[str, Any] = {
        "Size": 5,
        "Created": ZERO_TIME,
        "Config": {"User": "u"},
        "Descriptor": {},
    }
    assert "Created" not in versions.image_inspect(V(1, 44), dict(image))
    assert versions.image_inspect(V(1, 43), dict(image))["Created"] == ZERO_TIME
    assert "Descriptor" not in versions.image_inspect(V(1, 47), dict(image))
    assert "Descriptor" in versions.image_inspect(V(1, 48), dict(image))
    assert "Hostname" not in versions.image_inspect(V(1, 50), dict(image))["Config"]
    old = versions.image_inspect(V(1, 41), dict(image))
    assert old["Config"]["Hostname"] == ""
    assert old["Config"]["User"] == "u"
    assert old["VirtualSize"] == 5
    assert "Container" in old
    for minor in (40, 51):
        shown = versions.image_inspect(V(1, minor), dict(image))
        assert shown["ContainerConfig"] == shown["Config"], "docker-compose 1.29 reads it"


def test_requests_for_images() -> None:
    given = parse_filters('{"dangling":["true"]}')
    assert versions.image_list_filters(V(1, 40), given, "busy*").get("reference") == {"busy*"}
    assert not versions.image_list_filters(V(1, 41), given, "busy*").get("reference")
    assert versions.image_list_filters(V(1, 40), given, "") is given
    assert (versions.counts_containers(V(1, 50)), versions.counts_containers(V(1, 51))) == (
        False,
        True,
    )


def container() -> dict[str, Any]:
    endpoint = {"Aliases": ["a"], "DNSNames": ["web", "a"], "GwPriority": 0}
    return {
        "Config": {},
        "NetworkSettings": {"MacAddress": "02:42", "Networks": {"front": endpoint}},
    }


def test_container_inspect() -> None:
    endpoint = versions.container_inspect(V(1, 51), container())["NetworkSettings"]["Networks"]
    assert endpoint["front"]["DNSNames"] == ["web", "a"]
    old = versions.container_inspect(V(1, 43), container())
    endpoint = old["NetworkSettings"]["Networks"]["front"]
    assert endpoint == {"Aliases": ["web", "a"]}
    assert old["Config"]["MacAddress"] == "02:42"


def test_events_repeat_themselves_for_old_readers() -> None:
    message = {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "x", "Attributes": {"image": "i"}},
    }
    told = versions.event(V(1, 51), message)
    assert (told["status"], told["id"], told["from"]) == ("start", "x", "i")
    network = {"Type": "network", "Action": "create", "Actor": {"ID": "x", "Attributes": {}}}
    assert "status" not in versions.event(V(1, 51), network)


def test_requests() -> None:
    assert versions.wait_condition(V(1, 29), "removed") == ""
    assert versions.wait_condition(V(1, 30), "removed") == "removed"
    assert versions.sends_text(V(1, 27))
    assert not versions.sends_text(V(1, 28))
