"""An exec's OCI ``process``: the container's own, with what the exec asks for in its place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sharedrt.drivers.oci.capabilities import granted, process_capabilities
from sharedrt.drivers.oci.spec_process import absolute, merge_env
from sharedrt.drivers.oci.users import resolve_user
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import ExecRecord
from sharedrt.model.spec import Capabilities, User


def exec_process(
    base: Mapping[str, Any],
    *,
    args: Sequence[str],
    env: Sequence[str] = (),
    cwd: str = "",
    tty: bool = False,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The container's process with other arguments. ``size`` is (width, height).

    Raises:
        InvalidArgument: no command.
    """
    if not args:
        raise InvalidArgument("command", "", "no command specified")
    process = dict(base)
    process["args"] = list(args)
    process["env"] = merge_env(base.get("env", ()), env, tty=tty)
    process["terminal"] = tty
    process.pop("consoleSize", None)
    if cwd:
        process["cwd"] = absolute(cwd)
    if tty and size is not None:
        process["consoleSize"] = {"width": size[0], "height": size[1]}
    return process


def record_process(
    base: Mapping[str, Any],
    record: ExecRecord,
    *,
    rootfs: Path,
    bounding: frozenset[str],
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """The process of an exec record: another user is looked up in the container's files. Blocking.

    Raises:
        InvalidArgument: no command. NotFound: an unknown user or group.
    """
    process = exec_process(
        base, args=record.args, env=record.env, cwd=record.cwd, tty=record.tty, size=size
    )
    uid: int = process["user"]["uid"]
    if record.user:
        uid, gid, groups = resolve_user(rootfs, User(record.user))
        process["user"] = {"uid": uid, "gid": gid, "additionalGids": list(groups)}
    capabilities = process.get("capabilities", {})
    have = tuple(capabilities.get("bounding", ()))
    if record.privileged:
        have = granted(Capabilities(), privileged=True, bounding=bounding)
    if record.privileged or record.user:
        ambient = tuple(capabilities.get("ambient", ()))
        process["capabilities"] = process_capabilities(have, ambient, uid)
        if record.privileged:
            process.pop("apparmorProfile", None)
    return process
