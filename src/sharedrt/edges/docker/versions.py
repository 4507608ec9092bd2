"""API versions: which there are, and what older ones say differently, as functions listed by version.

A handler builds the newest form and passes it through the functions here; it never compares versions.
Facts: Engine API version history.
"""

import re
from typing import Any, Final, NamedTuple

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import EventRecord
from sharedrt.wire.docker_filters import Filters
from sharedrt.wire.docker_time import ZERO_TIME


class ApiVersion(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


NEWEST: Final = ApiVersion(1, 51)
OLDEST: Final = ApiVersion(1, 24)

_OLDEST_OF_ARCHIVES: Final = ApiVersion(1, 22)
"""What skopeo asks for in saving and loading, unless it is newer than 1.14 and negotiates."""

_ARCHIVES = re.compile(r"/images/(?:load|get|.+/get)")
_PREFIX = re.compile(r"/v([0-9]{1,9})\.([0-9]{1,9})(?=/)")


def split_version(path: str) -> tuple[ApiVersion, str]:
    """The version that a path asks for (the newest, when it names none), and the path without it.

    Raises:
        InvalidArgument: outside of what is served; ``reason`` holds Docker's words.
    """
    found = _PREFIX.match(path)
    if not found:
        return NEWEST, path
    version = ApiVersion(int(found[1]), int(found[2]))
    if version > NEWEST:
        raise InvalidArgument(
            "API version",
            str(version),
            f"client version {version} is too new. Maximum supported API version is {NEWEST}",
        )
    rest = path[found.end() :]
    if version < OLDEST and not (version >= _OLDEST_OF_ARCHIVES and _ARCHIVES.fullmatch(rest)):
        raise InvalidArgument(
            "API version",
            str(version),
            f"client version {version} is too old. Minimum supported API version is {OLDEST}, "
            "please upgrade your client to a newer version",
        )
    return version, rest


# ---------------------------------------------------------------- responses


def stream_content_type(version: ApiVersion, *, tty: bool) -> str:
    """1.42: a stream of frames has a media type of its own."""
    if not tty and version >= (1, 42):
        return "application/vnd.docker.multiplexed-stream"
    return "application/vnd.docker.raw-stream"


def sends_text(version: ApiVersion) -> bool:
    """1.28: attach over WebSocket sends binary messages; before, text."""
    return version < (1, 28)


def image_summary(version: ApiVersion, summary: dict[str, Any]) -> dict[str, Any]:
    """1.48: Descriptor. 1.47: Manifests. 1.44: VirtualSize is gone; before, it repeats Size. 1.43 and older: a
    placeholder for no names."""
    if version < (1, 48):
        summary.pop("Descriptor", None)
    if version < (1, 47):
        summary.pop("Manifests", None)
    if version < (1, 44):
        summary["VirtualSize"] = summary["Size"]
        summary["RepoTags"] = summary["RepoTags"] or ["<none>:<none>"]
        summary["RepoDigests"] = summary["RepoDigests"] or ["<none>@<none>"]
    return summary


def image_inspect(version: ApiVersion, image: dict[str, Any]) -> dict[str, Any]:
    """1.44: VirtualSize is gone, and Created is left out when the image does not say it. 1.45: Container is gone, and
    so is ContainerConfig, which stays here: docker-compose 1.29 asks with any version, and fails without. 1.48:
    Descriptor and Manifests. 1.50: those fields of Config that an image never sets are gone."""
    if version < (1, 44):
        image["VirtualSize"] = image["Size"]
    elif image["Created"] == ZERO_TIME:
        del image["Created"]
    if version < (1, 48):
        image.pop("Descriptor", None)
        image.pop("Manifests", None)
    if version < (1, 45):
        image["Container"] = ""
    if version < (1, 50):
        image["Config"] = {
            "Hostname": "",
            "Domainname": "",
            "AttachStdin": False,
            "AttachStdout": False,
            "AttachStderr": False,
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            "Image": "",
            **image["Config"],
        }
    image["ContainerConfig"] = image["Config"]
    return image


def container_inspect(version: ApiVersion, container: dict[str, Any]) -> dict[str, Any]:
    """1.44: MacAddress moved from Config to the endpoints. 1.45: an endpoint's DNSNames are apart from its
    Aliases. 1.48: ImageManifestDescriptor and GwPriority."""
    networks = container["NetworkSettings"]["Networks"]
    if version < (1, 44):
        container["Config"]["MacAddress"] = container["NetworkSettings"]["MacAddress"]
    if version < (1, 45):
        for endpoint in networks.values():
            names = endpoint.pop("DNSNames", None)
            endpoint["Aliases"] = names or endpoint["Aliases"]
    if version < (1, 48):
        container.pop("ImageManifestDescriptor", None)
        for endpoint in networks.values():
            endpoint.pop("GwPriority", None)
    return container


def container_summary(version: ApiVersion, summary: dict[str, Any]) -> dict[str, Any]:
    """1.46: Annotations in HostConfig. 1.48: ImageManifestDescriptor."""
    if version < (1, 46):
        summary["HostConfig"].pop("Annotations", None)
    if version < (1, 48):
        summary.pop("ImageManifestDescriptor", None)
    return summary


def network_request(version: ApiVersion, body: dict[str, Any]) -> dict[str, Any]:
    """The body of ``POST /networks/create``. 1.48: EnableIPv4, which older engines ignored."""
    if version < (1, 48):
        return {key: value for key, value in body.items() if key.lower() != "enableipv4"}
    return body


def network(version: ApiVersion, rendered: dict[str, Any]) -> dict[str, Any]:
    """1.48: EnableIPv4."""
    if version < (1, 48):
        rendered.pop("EnableIPv4", None)
    return rendered


def event(version: ApiVersion, message: dict[str, Any]) -> dict[str, Any]:
    """1.52 drops ``status``, ``id`` and ``from``, which all that is served here still has."""
    if message["Type"] == "container":
        message["status"] = message["Action"]
        message["id"] = message["Actor"]["ID"]
        message["from"] = message["Actor"]["Attributes"].get("image", "")
    elif message["Type"] == "image":
        message["status"] = message["Action"]
        message["id"] = message["Actor"]["ID"]
    return message


def tells_event(version: ApiVersion, record: EventRecord) -> bool:
    """1.46: an image that was built is told of, with a name or without."""
    return version >= (1, 46) or (record.kind, record.action) != ("image", "create")


def info(version: ApiVersion, rendered: dict[str, Any]) -> dict[str, Any]:
    """1.25: security options are pairs of names and values. 1.47: fewer registry fields. 1.49: FirewallBackend, and
    no more expected commits. 1.50: DiscoveredDevices, and no more bridge-nf switches."""
    if version < (1, 25):
        rendered["ExecutionDriver"] = "<not supported>"
        rendered["SecurityOptions"] = [
            option.partition(",")[0].removeprefix("name=") for option in rendered["SecurityOptions"]
        ]
    if version < (1, 47):
        rendered["RegistryConfig"].setdefault("AllowNondistributableArtifactsCIDRs", None)
        rendered["RegistryConfig"].setdefault("AllowNondistributableArtifactsHostnames", None)
    if version < (1, 49):
        rendered.pop("FirewallBackend", None)
        for name in ("ContainerdCommit", "RuncCommit", "InitCommit"):
            rendered[name] = {**rendered[name], "Expected": rendered[name]["ID"]}
    if version < (1, 50):
        rendered.pop("DiscoveredDevices", None)
        rendered["BridgeNfIptables"] = False
        rendered["BridgeNfIp6tables"] = False
    return rendered


def disk_usage(version: ApiVersion, rendered: dict[str, Any]) -> dict[str, Any]:
    """1.42: BuilderSize is gone."""
    if version < (1, 42):
        rendered["BuilderSize"] = sum(item["Size"] for item in rendered["BuildCache"] or [])
    return rendered


def counts_containers(version: ApiVersion) -> bool:
    """1.51: a list of images counts each one's containers; before, -1 says that it was not counted."""
    return version >= (1, 51)


# ---------------------------------------------------------------- requests


def image_list_filters(version: ApiVersion, filters: Filters, name: str) -> Filters:
    """1.41: the parameter ``filter``, a name or pattern, is gone; before, it is the filter ``reference``."""
    return filters.adding("reference", name) if name and version < (1, 41) else filters


def update_config(version: ApiVersion, body: dict[str, Any]) -> dict[str, Any]:
    """1.40: an update changes PidsLimit. 1.42: KernelMemory is gone (older clients are told, as at create)."""
    unknown = {"kernelmemory"}
    if version < (1, 40):
        unknown.add("pidslimit")
    return {name: value for name, value in body.items() if name.lower() not in unknown}


def stop_signal(version: ApiVersion, signal: str) -> str:
    """1.42: stop and restart take a signal."""
    return signal if version >= (1, 42) else ""


def reads_console_size(version: ApiVersion) -> bool:
    """1.42: an exec starts with the size of its terminal."""
    return version >= (1, 42)


def reads_one_shot(version: ApiVersion) -> bool:
    """1.41: statistics without waiting for a second reading."""
    return version >= (1, 41)


def prunes_named_volumes(version: ApiVersion) -> bool:
    """1.42: a prune of volumes takes anonymous ones alone, unless it is asked for all."""
    return version < (1, 42)


def wait_condition(version: ApiVersion, condition: str) -> str:
    """1.30 brought conditions; before, wait means not running."""
    return condition if version >= (1, 30) else ""


def readonly_is_recursive(version: ApiVersion) -> bool:
    """1.44: what is mounted below a read-only bind is read-only too; before, the bind alone."""
    return version >= (1, 44)
