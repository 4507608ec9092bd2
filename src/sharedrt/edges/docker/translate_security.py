"""Confinement: ``SecurityOpt``, capabilities, privileged, and the namespaces that are shared."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.selinux import labels
from sharedrt.edges.docker.words import bad_request, not_implemented
from sharedrt.model.records import ContainerRecord
from sharedrt.model.spec import (
    Capabilities,
    NamespaceMode,
    NamespaceRef,
    Seccomp,
    SeccompKind,
    Security,
)

FindContainer = Callable[[str], ContainerRecord]

_PRIVATE: Final = NamespaceRef()
_HOST: Final = NamespaceRef(NamespaceMode.HOST)
_CAPABILITIES_TEXT = (
    "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN "
    "DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE "
    "MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON "
    "SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE "
    "SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM"
)
_CAPABILITIES: Final = frozenset(_CAPABILITIES_TEXT.split())


@dataclass(slots=True)
class _Options:
    seccomp: Seccomp = field(default_factory=Seccomp)
    no_new_privileges: bool = False
    apparmor: str = ""
    writable_cgroups: bool | None = None
    labels: list[str] = field(default_factory=list)


def translate_security(host: Fields, *, selinux: bool = False) -> Security:
    """``selinux``: the host has it. Raises Refusal (400) for an option or capability that does not exist."""
    privileged = host.boolean("Privileged")
    options = _options(host.strings("SecurityOpt"), privileged)
    process_label, mount_label = labels(options.labels, enabled=selinux and not privileged)
    return Security(
        privileged=privileged,
        no_new_privileges=options.no_new_privileges,
        capabilities=Capabilities(
            add=_capabilities(host, "CapAdd"), drop=_capabilities(host, "CapDrop")
        ),
        seccomp=options.seccomp,
        apparmor_profile=options.apparmor,
        selinux_process_label=process_label,
        selinux_mount_label=mount_label,
        masked_paths=_paths(host, "MaskedPaths", privileged),
        readonly_paths=_paths(host, "ReadonlyPaths", privileged),
        readonly_rootfs=host.boolean("ReadonlyRootfs"),
        writable_cgroups=options.writable_cgroups,
    )


def _paths(host: Fields, name: str, privileged: bool) -> tuple[str, ...] | None:
    return () if privileged else host.optional_strings(name)


def _capabilities(host: Fields, field_name: str) -> tuple[str, ...]:
    known = []
    for name in host.strings(field_name):
        bare = name.upper().removeprefix("CAP_")
        if bare not in _CAPABILITIES:
            raise bad_request(f'invalid {field_name}: unknown capability: "CAP_{bare}"')
        known.append(bare if bare == "ALL" else f"CAP_{bare}")
    return tuple(dict.fromkeys(known))


def _options(texts: tuple[str, ...], privileged: bool) -> _Options:
    options = _Options()
    if privileged:
        options.seccomp = Seccomp(SeccompKind.UNCONFINED)
        options.apparmor = "unconfined"
    for text in texts:
        name, separator, value = _split(text)
        match name:
            case "no-new-privileges":
                options.no_new_privileges = _yes(text, value) if separator else True
            case "seccomp" if separator:
                options.seccomp = _seccomp(value)
            case "apparmor" if separator:
                options.apparmor = value
            case "label" if separator:
                options.labels.append(value)
            case "writable-cgroups":
                options.writable_cgroups = _yes(text, value) if separator else True
            case "systempaths":
                raise not_implemented(f"HostConfig.SecurityOpt {text}")
            case _:
                raise bad_request(f'invalid --security-opt 2: "{text}"')
    return options


def _split(text: str) -> tuple[str, str, str]:
    """``name=value``, or the older ``name:value``."""
    name, separator, value = text.partition("=")
    if not separator or ":" in name:
        name, separator, value = text.partition(":")
    return name, separator, value


def _yes(text: str, value: str) -> bool:
    if value.lower() in ("true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise bad_request(f'invalid --security-opt 2: "{text}"')


def _seccomp(value: str) -> Seccomp:
    """The CLI sends a profile's content, never its path."""
    if value == "unconfined":
        return Seccomp(SeccompKind.UNCONFINED)
    if value in ("builtin", "default"):
        return Seccomp()
    try:
        profile = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict):
        raise bad_request("Decoding seccomp profile failed: not an object")
    return Seccomp(SeccompKind.PROFILE, value)


# ---------------------------------------------------------------- namespaces


def resolve_mode(mode: str, find: FindContainer) -> str:
    """A namespace mode with ``container:NAME`` made ``container:ID``. Raises NotFound."""
    if not mode.startswith("container:"):
        return mode
    reference = mode.removeprefix("container:")
    if not reference:
        raise bad_request(f"invalid container format {mode}, should be container:<name|id>")
    return f"container:{find(reference).id}"


def pid_namespace(mode: str) -> NamespaceRef:
    """``PidMode``, resolved."""
    return _ref(mode, "PID")


def ipc_namespace(mode: str) -> NamespaceRef:
    """``IpcMode``, resolved; whether another container shares its own shows at the start."""
    if mode in ("", "private", "shareable", "none"):
        return _PRIVATE
    return _ref(mode, "IPC")


def uts_namespace(mode: str) -> NamespaceRef:
    """``UTSMode``: its own or the host's."""
    if mode == "host":
        return _HOST
    if mode:
        raise bad_request(f"invalid UTS mode: {mode}")
    return _PRIVATE


def cgroup_namespace(mode: str) -> NamespaceRef:
    """``CgroupnsMode``, which has its default already."""
    if mode == "host":
        return _HOST
    if mode == "private":
        return _PRIVATE
    raise bad_request(f"invalid cgroup namespace mode: {mode}")


def user_namespace(mode: str) -> NamespaceRef:
    """``UsernsMode``: nothing is remapped, so ``host`` changes nothing."""
    if mode not in ("", "host"):
        raise bad_request(f"invalid user namespace mode: {mode}")
    return _HOST


def _ref(mode: str, kind: str) -> NamespaceRef:
    if not mode:
        return _PRIVATE
    if mode == "host":
        return _HOST
    if mode.startswith("container:"):
        return NamespaceRef(NamespaceMode.CONTAINER, mode.removeprefix("container:"))
    raise bad_request(f"invalid {kind} mode: {mode}")


def _ipc_mode_of(record: ContainerRecord) -> str:
    docker = record.extensions.get("docker")
    host_config = docker.get("HostConfig") if isinstance(docker, dict) else None
    mode = host_config.get("IpcMode") if isinstance(host_config, dict) else None
    return mode if isinstance(mode, str) else "private"
