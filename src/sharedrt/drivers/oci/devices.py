"""Device nodes and device cgroup rules of a container. Looks at the host's ``/dev``: blocking, but short."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import BlkioLimit, ContainerSpec, Device, DeviceRule

# (kind, major, minor, permissions): nodes may be made of any number; opened may be only these
_DEFAULT_RULES: Final = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts/*
)
_NOT_SHARED: Final = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
_OWN_TO_EACH: Final = frozenset(("console", "ptmx", "tty"))
_MAX_NODES: Final = 4096


def render_devices(spec: ContainerSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(``linux.devices``, ``linux.resources.devices``). The runtime adds the default nodes itself.

    Raises:
        InvalidArgument: a device that is not there, or is none.
    """
    if spec.security.privileged:
        nodes = [_node(path, str(path)) for path in _walk(Path("/dev"))]
        nodes += [node for device in spec.devices for node, _ in _asked(device)]
        return _unique(nodes), [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(DeviceRule(*each)) for each in _DEFAULT_RULES]
    nodes = []
    for device in spec.devices:
        for node, rule in _asked(device):
            nodes.append(node)
            rules.append(rule)
    rules += [_rule(rule) for rule in spec.device_rules]
    return _unique(nodes), rules


def block_device_number(limit: BlkioLimit) -> tuple[int, int]:
    """(major, minor) of a block device's node. Raises InvalidArgument."""
    try:
        status = os.stat(limit.path)
    except OSError as e:
        raise InvalidArgument("block device", limit.path, e.strerror or str(e)) from e
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument("block device", limit.path, "not a block device")
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _asked(device: Device) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    if not device.permissions or set(device.permissions) - set("rwm"):
        raise InvalidArgument("device permissions", device.permissions, "out of r, w and m")
    real = Path(os.path.realpath(device.host_path))
    target = device.container_path or device.host_path
    if real.is_dir():
        for path in _walk(real):
            yield _with_rule(_node(path, f"{target}/{path.relative_to(real)}"), device.permissions)
        return
    if not real.exists():
        raise InvalidArgument("device", device.host_path, "no such file or directory")
    yield _with_rule(_node(real, target), device.permissions)


def _with_rule(node: dict[str, Any], permissions: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return node, _rule(DeviceRule(node["type"], node["major"], node["minor"], permissions))


def _walk(folder: Path) -> Iterator[Path]:
    count = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_SHARED]
        for name in files:
            path = Path(where, name)
            if where == "/dev" and name in _OWN_TO_EACH:
                continue
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
                continue
            count += 1
            if count > _MAX_NODES:
                raise InvalidArgument("device", str(folder), f"more than {_MAX_NODES} nodes")
            yield path


def _node(path: Path, target: str) -> dict[str, Any]:
    status = path.stat()
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        raise InvalidArgument("device", str(path), "not a device node")
    return {
        "path": target,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _rule(rule: DeviceRule) -> dict[str, Any]:
    if rule.kind not in ("a", "b", "c"):
        raise InvalidArgument("device rule", rule.kind, "kind must be a, b or c")
    if not rule.permissions or set(rule.permissions) - set("rwm"):
        raise InvalidArgument("device rule", rule.permissions, "permissions out of r, w and m")
    found: dict[str, Any] = {"allow": rule.allow, "type": rule.kind, "access": rule.permissions}
    if rule.major is not None:
        found["major"] = rule.major
    if rule.minor is not None:
        found["minor"] = rule.minor
    return found


def _unique(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last node of each path."""
    return list({node["path"]: node for node in nodes}.values())
