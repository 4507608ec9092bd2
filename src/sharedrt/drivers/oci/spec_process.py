"""OCI's ``process``: arguments, environment, user, capabilities and limits."""

from collections.abc import Iterable
from typing import Any, Final

from sharedrt.drivers.oci.capabilities import ambient, granted, process_capabilities
from sharedrt.drivers.oci.host import RLIMITS, HostFacts
from sharedrt.drivers.oci.notes import Notes
from sharedrt.model.drivers import BundleRequest
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import ContainerSpec, ImageDefaults, Rlimit, Security

DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_PATH: Final = "/sbin/docker-init"
"""Where an asked-for init is mounted; Docker's path, which users look for in ``ps``."""

_NO_LIMIT: Final = (1 << 64) - 1

UserIds = tuple[int, int, tuple[int, ...]]


def render_process(
    request: BundleRequest, ids: UserIds, facts: HostFacts, notes: Notes
) -> dict[str, Any]:
    """The ``process`` object of the runtime spec, without its terminal's size.

    Raises:
        InvalidArgument: no command, an unknown capability or limit, an oom_score_adj out of range.
    """
    spec = request.spec
    uid, gid, groups = ids
    have = granted(
        spec.security.capabilities, privileged=spec.security.privileged, bounding=facts.bounding
    )
    args = final_args(spec, request.image)
    process: dict[str, Any] = {
        "terminal": spec.tty,
        "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)},
        "args": [INIT_PATH, "--", *args] if spec.init else args,
        "env": merge_env(request.image.env, spec.env, tty=spec.tty),
        "cwd": absolute(spec.cwd or request.image.cwd),
        "capabilities": process_capabilities(have, ambient(spec.security.capabilities, have), uid),
        "noNewPrivileges": spec.security.no_new_privileges,
        "oomScoreAdj": _oom_score_adj(spec.oom_score_adj, facts, notes),
    }
    if spec.tty and spec.console_size is not None:
        width, height = spec.console_size
        process["consoleSize"] = {"width": width, "height": height}
    if spec.rlimits:
        process["rlimits"] = [_rlimit(limit, facts, notes) for limit in spec.rlimits]
    if profile := apparmor_profile(spec.security, facts):
        process["apparmorProfile"] = profile
    if facts.selinux and spec.security.selinux_process_label:
        process["selinuxLabel"] = spec.security.selinux_process_label
    return process


def final_args(spec: ContainerSpec, image: ImageDefaults) -> list[str]:
    """Entrypoint and command: a replaced entrypoint drops the image's command.

    Raises:
        InvalidArgument: nothing to run.
    """
    if spec.command is None:
        cmd = image.cmd if spec.args is None else spec.args
        args = [*image.entrypoint, *cmd]
    else:
        args = [*spec.command, *(spec.args or ())]
    if not args:
        raise InvalidArgument("command", "", "no command specified")
    return args


def merge_env(image: Iterable[str], given: Iterable[str], *, tty: bool) -> list[str]:
    """The image's variables and the client's over them; a bare ``KEY`` removes one. PATH is always there."""
    found = {"PATH": DEFAULT_PATH}
    if tty:
        found["TERM"] = "TERM=xterm"
    for entry in (*image, *given):
        name, equals, _ = entry.partition("=")
        if equals:
            found[name] = entry
        else:
            found.pop(name, None)
    return list(found.values())


def absolute(cwd: str) -> str:
    return cwd if cwd.startswith("/") else f"/{cwd}"


def _oom_score_adj(wanted: int | None, facts: HostFacts, notes: Notes) -> int:
    score = wanted or 0
    if not -1000 <= score <= 1000:
        raise InvalidArgument("oom_score_adj", score, "must be between -1000 and 1000")
    if score < facts.least_oom_score_adj:
        notes.add(
            f"oom_score_adj {score} raised to {facts.least_oom_score_adj}: "
            "lowering it further needs CAP_SYS_RESOURCE, which this daemon lacks"
        )
        return facts.least_oom_score_adj
    return score


def _rlimit(limit: Rlimit, facts: HostFacts, notes: Notes) -> dict[str, Any]:
    name = limit.name.lower().removeprefix("rlimit_")
    if name not in RLIMITS:
        raise InvalidArgument("rlimit", limit.name, "unknown")
    soft, hard = _unsigned(limit.soft), _unsigned(limit.hard)
    if soft > hard:
        raise InvalidArgument(
            "rlimit", limit.name, f"soft limit {limit.soft} above hard limit {limit.hard}"
        )
    own = _unsigned(facts.hard_limits.get(name, -1))
    if hard > own:
        notes.add(
            f"rlimit {name} {limit.soft}:{limit.hard} cut to this daemon's own hard limit {own}: "
            "raising it needs CAP_SYS_RESOURCE, which this daemon lacks"
        )
        soft, hard = min(soft, own), own
    return {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}


def _unsigned(value: int) -> int:
    return _NO_LIMIT if value < 0 else value


def apparmor_profile(security: Security, facts: HostFacts) -> str:
    """The AppArmor profile to set; empty: none."""
    if not facts.apparmor or security.apparmor_profile == "unconfined":
        return ""
    if security.apparmor_profile:
        return security.apparmor_profile
    return "" if security.privileged else facts.apparmor_default
