"""Names of cgroups: as OCI's ``cgroupsPath`` says them, and as they are on disk."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import K8S_NAMESPACE, ContainerKey

_SCOPE_PREFIX: Final = "sharedrt"


class CgroupDriver(StrEnum):
    """Who makes cgroups: we and the OCI runtime, by mkdir, or systemd, asked over D-Bus by the runtime."""

    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


@dataclass(frozen=True, slots=True)
class CgroupName:
    """A container's cgroup: ``oci_path`` for ``linux.cgroupsPath``, ``path`` below each hierarchy's root."""

    oci_path: str
    path: str


def expand_slice(name: str) -> str:
    """The path of a slice unit, whose name carries its parents: ``a-b.slice`` is ``/a.slice/a-b.slice``.

    Source: systemd.slice(5).

    Raises:
        InvalidArgument: not a slice's name.
    """
    stem = name.removesuffix(".slice")
    if stem == name or not stem or "/" in name:
        raise InvalidArgument("cgroup parent", name, "the systemd driver needs the name of a slice")
    if stem == "-":
        return "/"
    parts = stem.split("-")
    if not all(parts):
        raise InvalidArgument("cgroup parent", name, "a slice's name has no empty part")
    return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))


def parent_path(driver: CgroupDriver, parent: str) -> str:
    """A parent cgroup as a path: the text itself, or the slice (a whole path's last part) unfolded.

    Raises:
        InvalidArgument: relative parts, or not a slice where systemd is the driver.
    """
    if driver is CgroupDriver.SYSTEMD:
        return expand_slice(parent.rstrip("/").rpartition("/")[2])
    path = PurePosixPath("/") / parent.lstrip("/")
    if ".." in path.parts or "\0" in parent:
        raise InvalidArgument("cgroup parent", parent, "must not go upwards")
    return str(path)


def container_cgroup(driver: CgroupDriver, parent: str, key: ContainerKey) -> CgroupName:
    """A container's cgroup below ``parent``. Two namespaces' containers of one id get different ones.

    A pod's container's, below the kubelet's own cgroups, is its bare id: cAdvisor and other agents of a node
    take the last part of the path for that. No other namespace's has that form.

    Raises:
        InvalidArgument: see :func:`parent_path`.
    """
    above = parent_path(driver, parent)
    if driver is CgroupDriver.SYSTEMD:
        # '-' joins prefix and name, so the namespace's own ones are escaped, as systemd-escape(1) does
        prefix = f"{_SCOPE_PREFIX}-{key.namespace}".replace("-", "\\x2d")
        slice_name = PurePosixPath(above).name or "-.slice"
        return CgroupName(
            f"{slice_name}:{prefix}:{key.id}", f"{above.rstrip('/')}/{prefix}-{key.id}.scope"
        )
    name = key.id if key.namespace == K8S_NAMESPACE else f"{key.namespace}:{key.id}"
    path = f"{above.rstrip('/')}/{name}"
    return CgroupName(path, path)
