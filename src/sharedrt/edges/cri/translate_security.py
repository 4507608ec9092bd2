"""Security contexts on the way in: users, capabilities, seccomp, AppArmor, SELinux, what is masked."""

import asyncio
import json
from pathlib import Path
from typing import Final

from sharedrt.edges.cri.host import HostAbilities
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.records import SandboxSpec
from sharedrt.model.spec import Capabilities, Seccomp, SeccompKind, Security, User
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime.v1 import (
    Int64Value,
    LinuxContainerSecurityContext,
    LinuxSandboxSecurityContext,
    SecurityProfile,
    SecurityProfileProfileType,
    SeLinuxOption,
    SupplementalGroupsPolicy,
)

_MAX_PROFILE_BYTES: Final = 1 << 20
_LOCALHOST: Final = "localhost/"
_RUNTIME_DEFAULT: Final = frozenset({"runtime/default", "docker/default"})
_UNCONFINED: Final = "unconfined"
_LOADED_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")


def user_of(context: LinuxContainerSecurityContext) -> User:
    """Who the process runs as: a name wins over a number, and without either the image decides.

    Raises:
        InvalidArgument: a group without a user, a negative id, an unknown policy.
    """
    uid = _id("run_as_user", context.run_as_user)
    gid = _id("run_as_group", context.run_as_group)
    name = context.run_as_username
    if gid is not None and uid is None and not name:
        raise InvalidArgument("run_as_group", gid, "needs run_as_user or run_as_username")
    return User(
        name=name,
        uid=None if name else uid,
        gid=gid,
        additional_gids=_groups(context.supplemental_groups),
        merge_image_groups=_merges(context.supplemental_groups_policy),
    )


def check_sandbox_user(context: LinuxSandboxSecurityContext) -> None:
    """A pod has no process of its own that these could apply to, but they must make sense."""
    uid = _id("run_as_user", context.run_as_user)
    gid = _id("run_as_group", context.run_as_group)
    if gid is not None and uid is None:
        raise InvalidArgument("run_as_group", gid, "needs run_as_user")
    _groups(context.supplemental_groups)
    _merges(context.supplemental_groups_policy)


def _id(field: str, value: Int64Value) -> int | None:
    if not is_present(value):
        return None
    if not 0 <= value.value < 1 << 32:
        raise InvalidArgument(field, value.value, "no valid id")
    return value.value


def _groups(groups: list[int]) -> tuple[int, ...]:
    for group in groups:
        if not 0 <= group < 1 << 32:
            raise InvalidArgument("supplemental_groups", group, "no valid id")
    return tuple(groups)


def _merges(policy: int) -> bool:
    match policy:
        case SupplementalGroupsPolicy.Merge:
            return True
        case SupplementalGroupsPolicy.Strict:
            return False
        case _:
            raise InvalidArgument("supplemental_groups_policy", int(policy), "unknown")


async def sandbox_security(context: LinuxSandboxSecurityContext, host: HostAbilities) -> Security:
    """What a pod's own init process gets, and what the pod allows its containers."""
    process, mount = selinux_labels(context.selinux_options, host)
    return Security(
        privileged=context.privileged,
        readonly_rootfs=context.readonly_rootfs,
        seccomp=await seccomp_of(context.seccomp, context.seccomp_profile_path),
        apparmor_profile=apparmor_of(context.apparmor, "", host),
        selinux_process_label=process,
        selinux_mount_label=mount,
    )


async def container_security(
    context: LinuxContainerSecurityContext, sandbox: SandboxSpec, host: HostAbilities
) -> Security:
    """Raises InvalidArgument, FailedPrecondition; names the field."""
    if context.privileged and not sandbox.security.privileged:
        raise InvalidArgument("privileged", True, "the pod's sandbox is not privileged")
    if is_present(context.selinux_options):
        process, mount = selinux_labels(context.selinux_options, host)
    else:
        process = sandbox.security.selinux_process_label
        mount = sandbox.security.selinux_mount_label
    masked, readonly = _hidden_paths(context, sandbox)
    apparmor = apparmor_of(context.apparmor, context.apparmor_profile, host)
    if apparmor not in ("", _UNCONFINED):
        await asyncio.to_thread(check_loaded, apparmor, _LOADED_PROFILES)
    return Security(
        privileged=context.privileged,
        no_new_privileges=context.no_new_privs,
        capabilities=Capabilities(
            add=tuple(context.capabilities.add_capabilities),
            drop=tuple(context.capabilities.drop_capabilities),
            ambient=tuple(context.capabilities.add_ambient_capabilities),
        ),
        seccomp=await _container_seccomp(context),
        apparmor_profile=apparmor,
        selinux_process_label=process,
        selinux_mount_label=mount,
        masked_paths=masked,
        readonly_paths=readonly,
        readonly_rootfs=context.readonly_rootfs,
    )


def _hidden_paths(
    context: LinuxContainerSecurityContext, sandbox: SandboxSpec
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The kubelet sends both lists, or for ``procMount: Unmasked`` neither, and that it allows in a
    user namespace only. Other clients that send neither get the defaults."""
    if context.masked_paths or context.readonly_paths or sandbox.user_mappings:
        return tuple(context.masked_paths), tuple(context.readonly_paths)
    return None, None


async def _container_seccomp(context: LinuxContainerSecurityContext) -> Seccomp:
    """A privileged container has none, whatever is asked for: a kubelet sends the pod's profile along."""
    if context.privileged:
        return Seccomp(SeccompKind.UNCONFINED)
    return await seccomp_of(context.seccomp, context.seccomp_profile_path)


async def seccomp_of(profile: SecurityProfile, deprecated_path: str) -> Seccomp:
    """Absent means unconfined, as other runtimes have it; the kubelet always says.

    Raises:
        InvalidArgument: an unknown type, or a localhost profile that cannot be read or is no JSON object.
    """
    if not is_present(profile) and deprecated_path:
        profile = _deprecated_profile("seccomp_profile_path", deprecated_path)
    if not is_present(profile):
        return Seccomp(SeccompKind.UNCONFINED)
    match profile.profile_type:
        case SecurityProfileProfileType.RuntimeDefault:
            return Seccomp(SeccompKind.DEFAULT)
        case SecurityProfileProfileType.Unconfined:
            return Seccomp(SeccompKind.UNCONFINED)
        case SecurityProfileProfileType.Localhost:
            path = profile.localhost_ref.removeprefix(_LOCALHOST)
            return Seccomp(SeccompKind.PROFILE, await asyncio.to_thread(_read_profile, path))
        case _:
            raise InvalidArgument("seccomp.profile_type", int(profile.profile_type), "unknown")


def _read_profile(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument("seccomp.localhost_ref", path, "must be an absolute path")
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(
            "seccomp.localhost_ref", path, error.strerror or "cannot be read"
        ) from error
    if len(data) > _MAX_PROFILE_BYTES:
        raise InvalidArgument("seccomp.localhost_ref", path, "larger than 1 MiB")
    try:
        text = data.decode()
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("seccomp.localhost_ref", path, "is not valid JSON") from error
    if not isinstance(parsed, dict):
        raise InvalidArgument("seccomp.localhost_ref", path, "is no JSON object")
    return text


def apparmor_of(profile: SecurityProfile, deprecated: str, host: HostAbilities) -> str:
    """A profile's name, ``unconfined``, or empty for the default.

    Raises:
        FailedPrecondition: a profile by name on a host without AppArmor: it would not be enforced.
    """
    if not is_present(profile) and deprecated:
        profile = _deprecated_profile("apparmor_profile", deprecated)
    match profile.profile_type:
        case SecurityProfileProfileType.RuntimeDefault:
            return ""
        case SecurityProfileProfileType.Unconfined:
            return _UNCONFINED
        case SecurityProfileProfileType.Localhost:
            name = profile.localhost_ref.removeprefix(_LOCALHOST)
            if not name:
                raise InvalidArgument("apparmor.localhost_ref", name, "must not be empty")
            if not host.apparmor:
                raise FailedPrecondition("AppArmor profile", name, "this host has no AppArmor")
            return name
        case _:
            raise InvalidArgument("apparmor.profile_type", int(profile.profile_type), "unknown")


def check_loaded(profile: str, profiles: Path) -> None:
    """Clients are told at creation, as other runtimes tell them. Blocking.

    Args:
        profiles: the kernel's list, a line ``NAME (MODE)`` each.

    Raises:
        FailedPrecondition: the kernel does not have it. Where there is no list, the start will tell.
    """
    try:
        lines = profiles.read_text().splitlines()
    except OSError:
        return
    if not any(line.rpartition(" (")[0] == profile for line in lines):
        raise FailedPrecondition("AppArmor profile", profile, "is not loaded")


def _deprecated_profile(field: str, text: str) -> SecurityProfile:
    """The forms from before SecurityProfile: ``runtime/default``, ``unconfined``, ``localhost/REF``."""
    if text in _RUNTIME_DEFAULT:
        return SecurityProfile(profile_type=SecurityProfileProfileType.RuntimeDefault)
    if text == _UNCONFINED:
        return SecurityProfile(profile_type=SecurityProfileProfileType.Unconfined)
    if text.startswith(_LOCALHOST):
        return SecurityProfile(
            profile_type=SecurityProfileProfileType.Localhost,
            localhost_ref=text.removeprefix(_LOCALHOST),
        )
    raise InvalidArgument(field, text, "not runtime/default, unconfined or localhost/...")


def selinux_labels(options: SeLinuxOption, host: HostAbilities) -> tuple[str, str]:
    """(process label, mount label). Empty where the host has no SELinux: pods carry options for the nodes
    that have it, and every runtime passes over them elsewhere.

    Raises:
        InvalidArgument: only some of user, role and type.
    """
    if not is_present(options) or not host.selinux:
        return "", ""
    given = (options.user, options.role, options.type)
    if any(given) and not all(given):
        raise InvalidArgument("selinux_options", ":".join(given), "user, role and type go together")
    user, role, kind = given if all(given) else ("system_u", "system_r", "container_t")
    level = options.level or "s0"
    return f"{user}:{role}:{kind}:{level}", f"{user}:object_r:container_file_t:{level}"
