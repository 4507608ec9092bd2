"""``Mounts`` of a container, as ``ps`` and ``inspect`` show them."""

from typing import Any

from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerRecord
from sharedrt.model.spec import Mount, MountKind
from sharedrt.services.volumes import Volumes


def render_mounts(record: ContainerRecord, volumes: Volumes) -> list[dict[str, Any]]:
    """A container's MountPoints. Not shown: those of type tmpfs, which dockerd shows in HostConfig alone."""
    return [
        _render(mount, volumes) for mount in record.spec.mounts if mount.kind is not MountKind.TMPFS
    ]


def _render(mount: Mount, volumes: Volumes) -> dict[str, Any]:
    rendered: dict[str, Any] = {"Type": mount.kind.value}
    source, mode = mount.source, ",".join(_modes(mount)) if mount.create_source else ""
    if mount.kind is MountKind.VOLUME:
        rendered["Name"] = mount.source
        rendered["Driver"] = "local"
        source = str(volumes.mountpoint(mount.source))
        # dockerd asks for a shared SELinux label where the client says nothing, and shows that.
        mode = "ro" if mount.readonly else "" if _is_anonymous(mount, volumes) else "z"
    return rendered | {
        "Source": source,
        "Destination": mount.target,
        "Mode": mode,
        "RW": not mount.readonly,
        "Propagation": (mount.propagation or "rprivate") if mount.kind is MountKind.BIND else "",
    }


def _is_anonymous(mount: Mount, volumes: Volumes) -> bool:
    try:
        return volumes.get(mount.source).anonymous
    except NotFound:
        return True  # on its way out with its container


def _modes(mount: Mount) -> list[str]:
    relabel = {"shared": "z", "private": "Z"}.get(mount.selinux_relabel, "")
    return [mode for mode in ("ro" if mount.readonly else "", relabel) if mode]
