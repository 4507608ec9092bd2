"""Seccomp profiles as OCI's ``linux.seccomp``: the default one, and those given in Docker's JSON form.

Source: OCI runtime spec, "Seccomp"; Docker's profile form adds ``archMap``, ``includes`` and ``excludes``
(docs.docker.com/engine/security/seccomp), which say where a rule holds.
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sharedrt.drivers.oci import seccomp_default as default
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import Json
from sharedrt.model.spec import Seccomp, SeccompKind

_PASSED_ON: Final = (
    "defaultAction",
    "defaultErrnoRet",
    "flags",
    "listenerPath",
    "listenerMetadata",
)
_RULE_KEYS: Final = ("action", "errnoRet")


@dataclass(frozen=True, slots=True)
class Machine:
    """What rules depend on: GOARCH's name of the machine and the kernel's (major, minor)."""

    arch: str
    kernel: tuple[int, int]


def render_seccomp(
    seccomp: Seccomp, capabilities: Collection[str], machine: Machine
) -> Json | None:
    """``linux.seccomp`` for a process that may get ``capabilities``; ``None``: no filter.

    Raises:
        InvalidArgument: a profile that is not JSON, or not of the right shape.
    """
    match seccomp.kind:
        case SeccompKind.UNCONFINED:
            return None
        case SeccompKind.DEFAULT:
            return default_profile(capabilities, machine)
        case SeccompKind.PROFILE:
            return convert_profile(seccomp.profile_json, capabilities, machine)


def default_profile(capabilities: Collection[str], machine: Machine) -> Json:
    """The default: everything else is answered with EPERM, clone3 with ENOSYS."""
    allowed = dict.fromkeys(default.ALWAYS.split())
    for group in default.GROUPS:
        if _holds(group, capabilities, machine):
            allowed.update(dict.fromkeys(group.names.split()))
    rules: list[dict[str, Any]] = [{"names": list(allowed), "action": "SCMP_ACT_ALLOW"}]
    rules += [
        _allow("socket", 0, default.AF_ALG, "SCMP_CMP_LT"),
        _allow("socket", 0, default.AF_ALG + 1, "SCMP_CMP_EQ"),
        _allow("socket", 0, default.AF_VSOCK, "SCMP_CMP_GT"),
    ]
    rules += [_allow("personality", 0, value, "SCMP_CMP_EQ") for value in default.PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        flags_index = 1 if machine.arch in ("s390", "s390x") else 0
        rules.append(_allow("clone", flags_index, default.NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ"))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": default.ENOSYS})
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1}
    if architectures := default.SUB_ARCHITECTURES.get(machine.arch):
        profile["architectures"] = list(architectures)
    return profile | {"syscalls": rules}


def _holds(group: default.Group, capabilities: Collection[str], machine: Machine) -> bool:
    return (
        (not group.capability or group.capability in capabilities)
        and (not group.arches or machine.arch in group.arches)
        and machine.kernel >= group.kernel
    )


def _allow(name: str, index: int, value: int, op: str) -> dict[str, Any]:
    # MASKED_EQ: value is the mask, and the masked argument has to equal valueTwo, zero when left out
    args = [{"index": index, "value": value, "op": op}]
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": args}


def convert_profile(text: str, capabilities: Collection[str], machine: Machine) -> Json:
    """A profile in Docker's form as OCI's. An OCI profile comes out as it went in.

    Raises:
        InvalidArgument: not JSON, or not of the right shape.
    """
    try:
        profile = json.loads(text)
    except ValueError as e:
        raise _wrong(text, f"not JSON: {e}") from e
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise _wrong(text, "needs a defaultAction")
    found = {key: profile[key] for key in _PASSED_ON if profile.get(key) is not None}
    if architectures := _architectures(profile, machine):
        found["architectures"] = architectures
    rules = profile.get("syscalls") or []
    if not isinstance(rules, list):
        raise _wrong(text, "syscalls is not a list")
    found["syscalls"] = [
        converted for rule in rules if (converted := _rule(rule, capabilities, machine)) is not None
    ]
    return found


def _architectures(profile: dict[str, Any], machine: Machine) -> list[str]:
    own, mapped = profile.get("architectures") or [], profile.get("archMap") or []
    if own and mapped:
        raise _wrong("", "architectures and archMap exclude each other")
    if own:
        return [str(name) for name in own]
    native = default.SUB_ARCHITECTURES.get(machine.arch, ("",))[0]
    for entry in mapped:
        if isinstance(entry, dict) and entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or [])]
    return []


def _rule(rule: Any, capabilities: Collection[str], machine: Machine) -> dict[str, Any] | None:
    if not isinstance(rule, dict) or not isinstance(rule.get("action"), str):
        raise _wrong(str(rule), "a rule needs an action")
    names = rule.get("names") or []
    if rule.get("name"):
        if names:
            raise _wrong(str(rule), "a rule has either name or names")
        names = [rule["name"]]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong(str(rule), "names is not a list of names")
    if not names or not _applies(rule, capabilities, machine):
        return None
    converted: dict[str, Any] = {"names": names}
    converted |= {key: rule[key] for key in _RULE_KEYS if rule.get(key) is not None}
    if rule.get("args"):
        converted["args"] = rule["args"]
    return converted


def _applies(rule: dict[str, Any], capabilities: Collection[str], machine: Machine) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if _any(excludes.get("arches"), (machine.arch,)) or _any(excludes.get("caps"), capabilities):
        return False
    if _reached(excludes.get("minKernel"), machine, otherwise=False):
        return False
    if includes.get("arches") and machine.arch not in includes["arches"]:
        return False
    if any(capability not in capabilities for capability in includes.get("caps") or ()):
        return False
    return _reached(includes.get("minKernel"), machine, otherwise=True)


def _any(wanted: Iterable[str] | None, have: Collection[str]) -> bool:
    return any(item in have for item in wanted or ())


def _reached(kernel: Any, machine: Machine, *, otherwise: bool) -> bool:
    if not kernel:
        return otherwise
    numbers = re.match(r"(\d+)\.(\d+)", str(kernel))
    if numbers is None:
        raise _wrong(str(kernel), "minKernel is not a version")
    return machine.kernel >= (int(numbers[1]), int(numbers[2]))


def _wrong(text: str, reason: str) -> InvalidArgument:
    return InvalidArgument("seccomp profile", text[:80], reason)
