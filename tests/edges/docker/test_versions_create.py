"""What older clients' create requests mean."""

from typing import Any

import pytest

from sharedrt.edges.docker.versions import ApiVersion as V
from sharedrt.edges.docker.versions_create import create_request, create_warnings
from sharedrt.edges.docker.words import Refusal


def host(minor: int, **given: Any) -> dict[str, Any]:
    return dict(create_request(V(1, minor), {"HostConfig": given})["HostConfig"])


def mount(minor: int, **given: Any) -> dict[str, Any]:
    return dict(host(minor, Mounts=[given])["Mounts"][0])


def refused(minor: int, **given: Any) -> str:
    with pytest.raises(Refusal) as caught:
        mount(minor, **given)
    assert caught.value.status == 400
    return caught.value.message


def test_defaults() -> None:
    assert host(39)["IpcMode"] == "shareable"
    assert host(40) == {"CgroupnsMode": "host"}
    assert host(51) == {}
    assert host(39, IpcMode="private")["IpcMode"] == "private"
    assert create_request(V(1, 51), {"HostConfig": None})["HostConfig"] == {}


def test_fields_are_dropped_before_their_time() -> None:
    for minor, name in ((24, "AutoRemove"), (41, "ConsoleSize"), (42, "Annotations")):
        assert name not in host(minor, **{name: {"x": "y"}})
        assert name in host(minor + 1, **{name: {"x": "y"}})
    assert "KernelMemory" not in host(51, KernelMemory=1)
    assert "annotations" not in host(42, annotations={"x": "y"})


def test_kernel_memory_is_told_of() -> None:
    body = {"hostconfig": {"KernelMemory": 1 << 20}}
    assert "Limitation discarded" in create_warnings(V(1, 41), body)[0]
    assert create_warnings(V(1, 42), body) == []


def test_health_checks() -> None:
    body = {"Healthcheck": {"Test": ["NONE"], "StartInterval": 5}}
    assert create_request(V(1, 43), body)["Healthcheck"] == {"Test": ["NONE"]}
    assert create_request(V(1, 44), body)["Healthcheck"] == body["Healthcheck"]


def test_networks() -> None:
    def endpoints(minor: int, **body: Any) -> dict[str, Any]:
        given = {"NetworkingConfig": {"EndpointsConfig": {"n": {"MacAddress": "m"}}}, **body}
        made: dict[str, Any] = create_request(V(1, minor), given)
        return dict(made["NetworkingConfig"]["EndpointsConfig"])

    assert endpoints(43) == {"n": {}}
    assert endpoints(43, MacAddress="m") == {"n": {"MacAddress": "m"}}
    assert endpoints(44) == {"n": {"MacAddress": "m"}}
    two = {"EndpointsConfig": {"a": {"GwPriority": 1}, "b": None}}
    assert create_request(V(1, 47), {"NetworkingConfig": two})["NetworkingConfig"] == {
        "EndpointsConfig": {"a": {}, "b": None}
    }
    with pytest.raises(Refusal, match="multiple network endpoints: a, b"):
        create_request(V(1, 43), {"NetworkingConfig": two})


def test_an_address_of_the_container() -> None:
    assert "deprecated" in create_warnings(V(1, 44), {"MacAddress": "m"})[0]
    assert create_warnings(V(1, 43), {"MacAddress": "m"}) == []


def test_mounts() -> None:
    bind = {"Type": "bind", "BindOptions": {"NonRecursive": True, "CreateMountpoint": True}}
    assert mount(39, **bind)["BindOptions"] == {}
    assert mount(41, **bind)["BindOptions"] == {"NonRecursive": True}
    assert mount(42, **bind) == bind
    mixed = {"Type": "bind", "VolumeOptions": {"NoCopy": True}}
    assert mount(41, **mixed) == {"Type": "bind"}
    assert refused(42, **mixed) == 'VolumeOptions must not be specified on mount type "bind"'
    forced = {"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": True}}
    assert "needs API v1.44 or newer" in refused(43, **forced)
    assert mount(44, **forced) == forced
    part = {"Type": "volume", "VolumeOptions": {"Subpath": "x"}}
    assert refused(44, **part) == "VolumeOptions.Subpath needs API v1.45 or newer"
    assert mount(45, **part) == part
    assert "needs API v1.48 or newer" in refused(47, Type="image")
    assert mount(48, Type="image") == {"Type": "image"}


@pytest.mark.parametrize("odd", [5, "x", [], [1], {"Mounts": 5}, {"Mounts": [5]}])
def test_what_is_malformed_is_left_to_its_reader(odd: Any) -> None:
    for name in ("HostConfig", "NetworkingConfig", "Healthcheck"):
        create_request(V(1, 24), {name: odd})
