"""A bundle's ``config.json``: a request, the image's defaults and the host's abilities as an OCI runtime spec.

Source: OCI runtime spec 1.0.2, ``config.md`` and ``config-linux.md``. Hooks come with CDI devices alone, and
Intel RDT is never used.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sharedrt.drivers.oci.capabilities import granted
from sharedrt.drivers.oci.devices import render_devices
from sharedrt.drivers.oci.host import HostFacts
from sharedrt.drivers.oci.notes import Notes
from sharedrt.drivers.oci.seccomp import render_seccomp
from sharedrt.drivers.oci.spec_mounts import render_mounts, rootfs_propagation, settle_propagation
from sharedrt.drivers.oci.spec_process import UserIds, render_process
from sharedrt.drivers.oci.spec_resources import render_resources
from sharedrt.model.drivers import BundleRequest
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import IdMapping, SeccompKind

OCI_VERSION: Final = "1.0.2"
_NAMESPACES: Final = ("network", "pid", "ipc", "uts", "cgroup")

MASKED_PATHS: Final = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
    "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_REFUSED_ANNOTATIONS: Final = ("run.oci.", "org.systemd.property.")
"""crun and runc take orders from these (files to write, systemd properties): no client may give them."""
_SCOPE_PROPERTIES: Final = {"org.systemd.property.TimeoutStopUSec": "uint64 10000000"}
"""For a host that shuts down: Docker's grace of 10 s, not systemd's 90, for what takes no notice of SIGTERM."""


def render_config(
    request: BundleRequest,
    ids: UserIds,
    *,
    cgroups_path: str,
    facts: HostFacts,
    notes: Notes,
    init: str = "",
) -> dict[str, Any]:
    """The whole ``config.json``. Blocking: looks at device nodes, and at mounts where propagation asks for it.

    Args:
        ids: the process's user, already resolved in the root file system.
        cgroups_path: OCI's ``linux.cgroupsPath``.
        init: the host's init binary, for a spec that asks for one.

    Raises:
        InvalidArgument, FailedPrecondition: what cannot be given, by name.
    """
    spec = request.spec
    if rootfs_propagation(request.mounts):
        mountinfo = Path("/proc/self/mountinfo").read_text()
        request = replace(request, mounts=settle_propagation(request.mounts, mountinfo))
    linux = _linux(request, cgroups_path, facts, notes)
    own_uts = "uts" not in request.host_namespaces and "uts" not in request.namespace_paths
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": render_process(request, ids, facts, notes),
        "root": {"path": str(request.rootfs), "readonly": spec.security.readonly_rootfs},
        "mounts": render_mounts(
            request,
            new_user_namespace=bool(spec.namespaces.uid_mappings),
            init=init if spec.init else "",
        ),
        "linux": linux,
    }
    if own_uts and (request.hostname or spec.hostname):
        config["hostname"] = request.hostname or spec.hostname
    if own_uts and spec.domainname:
        # the spec's own field is younger than runtimes in use; the sysctl is of the UTS namespace
        linux.setdefault("sysctl", {})["kernel.domainname"] = spec.domainname
    if annotations := _annotations(request, systemd=not cgroups_path.startswith("/")):
        config["annotations"] = annotations
    if facts.selinux and spec.security.selinux_mount_label:
        linux["mountLabel"] = spec.security.selinux_mount_label
    return config


def _linux(
    request: BundleRequest, cgroups_path: str, facts: HostFacts, notes: Notes
) -> dict[str, Any]:
    spec = request.spec
    nodes, rules = render_devices(spec)
    linux: dict[str, Any] = {
        "namespaces": render_namespaces(request, facts),
        "cgroupsPath": cgroups_path,
        "resources": render_resources(spec.resources, facts.cgroups, notes) | {"devices": rules},
        "maskedPaths": _paths(spec.security.masked_paths, masked_defaults(), request),
        "readonlyPaths": _paths(spec.security.readonly_paths, READONLY_PATHS, request),
    }
    if nodes:
        linux["devices"] = nodes
    if spec.sysctls:
        linux["sysctl"] = dict(spec.sysctls)
    if spec.namespaces.uid_mappings:
        linux["uidMappings"] = _mappings(spec.namespaces.uid_mappings)
        linux["gidMappings"] = _mappings(spec.namespaces.gid_mappings)
    if propagation := rootfs_propagation(request.mounts):
        linux["rootfsPropagation"] = propagation
    if (filter_ := _seccomp(request, facts)) is not None:
        linux["seccomp"] = filter_
    return linux


def _seccomp(request: BundleRequest, facts: HostFacts) -> Any:
    security = request.spec.security
    if security.privileged and security.seccomp.kind is SeccompKind.DEFAULT:
        return None
    have = granted(security.capabilities, privileged=security.privileged, bounding=facts.bounding)
    return render_seccomp(security.seccomp, have, facts.machine)


def render_namespaces(request: BundleRequest, facts: HostFacts) -> list[dict[str, str]]:
    """``linux.namespaces``: joined by path, new, or (left out) the host's.

    Raises:
        InvalidArgument: a path for a type that OCI does not know.
    """
    unknown = set(request.namespace_paths) - {*_NAMESPACES, "user"}
    if unknown:
        raise InvalidArgument("namespace", sorted(unknown)[0], "unknown type")
    found = [{"type": "mount"}]
    for kind in _NAMESPACES:
        if path := request.namespace_paths.get(kind):
            found.append({"type": kind, "path": path})
        elif kind not in request.host_namespaces and (kind != "cgroup" or facts.cgroup_namespaces):
            found.append({"type": kind})
    if path := request.namespace_paths.get("user"):
        found.append({"type": "user", "path": path})
    elif request.spec.namespaces.uid_mappings:
        found.append({"type": "user"})
    return found


def masked_defaults() -> tuple[str, ...]:
    """containerd's masked paths, with the throttling counters of each CPU (a side channel) that this host has."""
    cpus = os.cpu_count() or 0
    throttles = (f"/sys/devices/system/cpu/cpu{n}/thermal_throttle" for n in range(cpus))
    return (*MASKED_PATHS, *(path for path in throttles if os.path.isdir(path)))


def _paths(
    given: tuple[str, ...] | None, default: tuple[str, ...], request: BundleRequest
) -> list[str]:
    if given is not None:
        return list(given)
    return [] if request.spec.security.privileged else list(default)


def _mappings(mappings: tuple[IdMapping, ...]) -> list[dict[str, int]]:
    return [{"containerID": m.container_id, "hostID": m.host_id, "size": m.size} for m in mappings]


def _annotations(request: BundleRequest, *, systemd: bool) -> dict[str, str]:
    merged = {**request.spec.annotations, **request.annotations}
    kept = {k: v for k, v in merged.items() if not k.startswith(_REFUSED_ANNOTATIONS)}
    return kept | _SCOPE_PROPERTIES if systemd else kept
