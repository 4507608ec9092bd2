"""What API versions say differently about ``POST /containers/create``, listed by version.

Fields that a version did not know are dropped, as its engines ignored them; those of which ignoring would be a false
promise (a part of a volume, an enforced read-only) are refused. Facts: Engine API version history.
"""

from typing import Any, Final

from sharedrt.edges.docker.versions import ApiVersion
from sharedrt.edges.docker.words import bad_request

_OPTIONS_OF: Final = {
    "VolumeOptions": "volume",
    "BindOptions": "bind",
    "TmpfsOptions": "tmpfs",
}
_PARTS: Final = ("Healthcheck", "HostConfig", "NetworkingConfig", "MacAddress")
_PARTS_OF_HOST: Final = ("IpcMode", "CgroupnsMode", "Mounts")
_NO_KERNEL_MEMORY: Final = (
    "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. "
    "Limitation discarded."
)
_MAC_IS_OLD: Final = (
    "The container-wide MacAddress field is now deprecated. "
    "It should be specified in EndpointsConfig instead."
)


def create_request(version: ApiVersion, body: dict[str, Any]) -> dict[str, Any]:
    """The whole body, without what its version does not have. 1.44: a health check's StartInterval.

    Raises:
        Refusal: something that its version cannot say.
    """
    body = _canonical(body, _PARTS)
    health, host, networking = (body.get(name) for name in _PARTS[:3])
    if version < (1, 44) and health is not None:
        body["Healthcheck"] = _without(health, "StartInterval")
    if host is None or isinstance(host, dict):
        body["HostConfig"] = _host_config(version, _canonical(host or {}, _PARTS_OF_HOST))
    if isinstance(networking, dict):
        networking = body["NetworkingConfig"] = _canonical(networking, ("EndpointsConfig",))
        if isinstance(endpoints := networking.get("EndpointsConfig"), dict):
            mac = bool(body.get("MacAddress"))
            networking["EndpointsConfig"] = _endpoints(version, endpoints, mac=mac)
    return body


def create_warnings(version: ApiVersion, body: dict[str, Any]) -> list[str]:
    """Of a body as it came. Before 1.42: KernelMemory. 1.44: a MAC address is an endpoint's."""
    warnings = []
    body = _canonical(body, _PARTS)
    host = body.get("HostConfig")
    host = host if isinstance(host, dict) else {}
    warnings += kernel_memory_warnings(version, host)
    if version >= (1, 44) and body.get("MacAddress"):
        warnings.append(_MAC_IS_OLD)
    return warnings


def kernel_memory_warnings(version: ApiVersion, limits: dict[str, Any]) -> list[str]:
    """Of a HostConfig or an update. Before 1.42: KernelMemory, which no kernel of today has."""
    asked = version < (1, 42) and _canonical(limits, ("KernelMemory",)).get("KernelMemory")
    return [_NO_KERNEL_MEMORY] if asked else []


def _host_config(version: ApiVersion, host: dict[str, Any]) -> dict[str, Any]:
    """1.25: the engine removes what is to be removed; before, the client did. 1.40: a private IPC namespace by
    default; KernelMemoryTCP. 1.41: a private cgroup namespace where cgroups are v2. 1.42: ConsoleSize on Linux;
    KernelMemory is gone (:func:`create_warnings` tells older clients). 1.43: Annotations.

    Raises:
        Refusal: a mount with what its version cannot say.
    """
    if version < (1, 25):
        host = _without(host, "AutoRemove")
    if version < (1, 40):
        host = _without(host, "KernelMemoryTCP")
        if not host.get("IpcMode"):
            host = {**host, "IpcMode": "shareable"}
    if version < (1, 41) and not host.get("CgroupnsMode"):
        host = {**host, "CgroupnsMode": "host"}
    if version < (1, 42):
        host = _without(host, "ConsoleSize")
    host = _without(host, "KernelMemory")
    if version < (1, 43):
        host = _without(host, "Annotations")
    mounts = host.get("Mounts")
    if isinstance(mounts, list):
        host = {**host, "Mounts": [_mount(version, mount) for mount in mounts]}
    return host


def _endpoints(version: ApiVersion, endpoints: dict[str, Any], *, mac: bool) -> dict[str, Any]:
    """1.44: several networks, each with a MAC address; before, the container's was that of its one network. 1.48:
    GwPriority.

    Args:
        endpoints: ``EndpointsConfig``.
        mac: whether ``Config.MacAddress`` is given.

    Raises:
        Refusal: more networks than the version can say.
    """
    if version < (1, 44):
        if len(endpoints) > 1:
            raise bad_request(
                "Container cannot be created with multiple network endpoints: "
                + ", ".join(endpoints)
            )
        if not mac:
            endpoints = {name: _without(e, "MacAddress") for name, e in endpoints.items()}
    if version < (1, 48):
        endpoints = {name: _without(e, "GwPriority") for name, e in endpoints.items()}
    return endpoints


def _mount(version: ApiVersion, mount: Any) -> Any:
    """1.40: NonRecursive. 1.42: CreateMountpoint, and options of other types of mounts are refused. 1.44:
    ReadOnlyForceRecursive. 1.45: Subpath. 1.48: images."""
    if not isinstance(mount, dict):
        return mount
    mount = _canonical(mount, ("Type", *_OPTIONS_OF))
    kind = mount.get("Type")
    for name, owner in _OPTIONS_OF.items():
        if mount.get(name) is None or kind == owner:
            continue
        if version >= (1, 42):
            raise bad_request(f'{name} must not be specified on mount type "{kind}"')
        if name != "BindOptions":
            mount = _without(mount, name)
    bind, volume = mount.get("BindOptions"), mount.get("VolumeOptions")
    if isinstance(bind, dict):
        if version < (1, 40):
            bind = _without(bind, "NonRecursive")
        if version < (1, 42):
            bind = _without(bind, "CreateMountpoint")
        if version < (1, 44) and kind == "bind" and bind.get("ReadOnlyForceRecursive"):
            raise bad_request("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        mount = {**mount, "BindOptions": bind}
    if version < (1, 45) and isinstance(volume, dict) and volume.get("Subpath"):
        raise bad_request("VolumeOptions.Subpath needs API v1.45 or newer")
    if version < (1, 48) and kind == "image":
        raise bad_request('Mount type "Image" needs API v1.48 or newer')
    return mount


def _canonical(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A copy that has these fields under these names: Go reads names in any case."""
    spelled = {name.lower(): name for name in names}
    return {spelled.get(key.lower(), key): value for key, value in data.items()}


def _without(value: Any, name: str) -> Any:
    """An object without a field, whatever its case; what is no object is left to be refused where it is read."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if key.lower() != name.lower()}
