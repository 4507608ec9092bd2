"""CDI devices: found in the folders that vendors write to, and worked into a container's config.json. Blocking."""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import structlog

from sharedrt.model.faults import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from sharedrt.wire.cdi import (
    CdiEdits,
    CdiError,
    CdiMount,
    CdiNode,
    CdiSpec,
    parse_spec,
    split_name,
)

_log = structlog.get_logger("sharedrt.oci")

SPEC_DIRS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where the specification says: what an administrator wrote, then what device plugins write."""
_SUFFIXES: Final = frozenset((".json", ".yaml", ".yml"))
_MAX_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class _Found:
    spec: CdiSpec
    path: Path
    rank: int
    """Of its folder: a device of a later folder hides one of an earlier."""


def add_cdi_devices(config: dict[str, Any], names: Iterable[str], dirs: Sequence[Path]) -> None:
    """Make the edits of the named devices in ``config``.

    Args:
        names: ``vendor/class=device`` each; one that is there twice is added once.

    Raises:
        InvalidArgument: a malformed name. NotFound: no file has the device. FailedPrecondition: two files of one
            folder have it, or a device node is not there. Unimplemented: it asks for what is not done here.
    """
    files = _read_all(dirs)
    common: dict[Path, CdiEdits] = {}
    edits: list[CdiEdits] = []
    for name in dict.fromkeys(names):
        try:
            kind, device = split_name(name)
        except CdiError as error:
            raise InvalidArgument("CDI device", name, str(error)) from error
        found = _select(files, kind, device, name)
        if found.path not in common:
            common[found.path] = found.spec.edits
            edits.append(found.spec.edits)
        edits.append(found.spec.devices[device])
    for each in edits:
        if each.refused:
            raise Unimplemented(f"{each.refused[0]} of CDI devices")
        _apply(config, each)
    # A mount hides what lies below it: those nearer to the root come first.
    config["mounts"].sort(key=lambda m: len(PurePosixPath(m["destination"]).parts))


def cdi_device_names(dirs: Sequence[Path]) -> list[str]:
    """``vendor/class=device`` of each device that there is."""
    found = {f"{file.spec.kind}={name}" for file in _read_all(dirs) for name in file.spec.devices}
    return sorted(found)


def _read_all(dirs: Sequence[Path]) -> list[_Found]:
    found = []
    for rank, folder in enumerate(dirs):
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in paths:
            try:
                with path.open("rb") as file:
                    spec = parse_spec(file.read(_MAX_BYTES))
            except (OSError, CdiError) as error:
                # Another vendor's broken file is no reason to refuse this one's device.
                _log.warning("CDI file cannot be used", path=str(path), reason=str(error))
                continue
            found.append(_Found(spec, path, rank))
    return found


def _select(files: Sequence[_Found], kind: str, device: str, name: str) -> _Found:
    having = [file for file in files if file.spec.kind == kind and device in file.spec.devices]
    if not having:
        raise NotFound("CDI device", name)
    best = max(file.rank for file in having)
    first, *others = [file for file in having if file.rank == best]
    if others:
        both = f"{first.path} and {others[0].path}"
        raise FailedPrecondition("CDI device", name, f"is defined by both {both}")
    return first


def _apply(config: dict[str, Any], edits: CdiEdits) -> None:
    process, linux = config["process"], config["linux"]
    if edits.env:
        process["env"] = _merge_env(process["env"], edits.env)
    for gid in edits.additional_gids:
        if gid and gid not in process["user"]["additionalGids"]:
            process["user"]["additionalGids"].append(gid)
    for node in edits.nodes:
        rendered = _node(node, process["user"])
        nodes = [n for n in linux.get("devices", []) if n["path"] != node.path]
        linux["devices"] = [*nodes, rendered]
        if rendered["type"] != "p":
            rule = {key: rendered[key] for key in ("type", "major", "minor")}
            rule |= {"allow": True, "access": node.permissions}
            linux["resources"]["devices"].append(rule)
    for mount in edits.mounts:
        kept = [m for m in config["mounts"] if m["destination"] != mount.container_path]
        config["mounts"] = [*kept, _mount(mount)]
    for hook in edits.hooks:
        asked: dict[str, Any] = {"path": hook.path, "args": list(hook.args), "env": list(hook.env)}
        if hook.timeout_s is not None:
            asked["timeout"] = hook.timeout_s
        config.setdefault("hooks", {}).setdefault(hook.point, []).append(asked)


def _merge_env(env: Iterable[str], more: Iterable[str]) -> list[str]:
    merged = {entry.partition("=")[0]: entry for entry in env}
    merged |= {entry.partition("=")[0]: entry for entry in more}
    return list(merged.values())


def _mount(mount: CdiMount) -> dict[str, Any]:
    options = list(mount.options)
    kind = mount.kind or "bind"
    if kind == "bind" and not {"bind", "rbind"}.intersection(options):
        options.insert(0, "rbind")
    return {
        "destination": mount.container_path,
        "type": kind,
        "source": mount.host_path,
        "options": options,
    }


def _node(node: CdiNode, user: Mapping[str, Any]) -> dict[str, Any]:
    kind, major, minor = node.kind, node.major, node.minor
    if not kind or (major is None and kind != "p"):
        kind, major, minor = _of_host(node)
    rendered: dict[str, Any] = {"path": node.path, "type": kind}
    if kind != "p":
        rendered |= {"major": major, "minor": minor or 0}
    if node.file_mode is not None:
        rendered["fileMode"] = node.file_mode
    # A node without an owner is the process's own.
    for key, value in (("uid", node.uid), ("gid", node.gid)):
        if value is None:
            value = user[key] or None
        if value is not None:
            rendered[key] = value
    return rendered


def _of_host(node: CdiNode) -> tuple[str, int, int]:
    try:
        status = os.stat(node.host_path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FailedPrecondition("CDI device node", node.host_path, reason) from error
    kinds = ((stat.S_ISCHR, "c"), (stat.S_ISBLK, "b"), (stat.S_ISFIFO, "p"))
    found = next((kind for test, kind in kinds if test(status.st_mode)), "")
    if not found or (node.kind and node.kind != found):
        raise FailedPrecondition("CDI device node", node.host_path, "is no such device")
    return found, os.major(status.st_rdev), os.minor(status.st_rdev)
