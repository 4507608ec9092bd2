"""OCI's ``mounts``: the defaults every container has, then the client's, and how mounts propagate."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final

from sharedrt.drivers.oci.spec_process import INIT_PATH
from sharedrt.model.drivers import BundleRequest, ResolvedMount
from sharedrt.model.faults import FailedPrecondition, InvalidArgument

_DEFAULT_SHM_BYTES: Final = 64 << 20
_SHARED: Final = frozenset(("shared", "rshared"))
_SLAVE: Final = frozenset(("slave", "rslave"))
_PROPAGATIONS: Final = frozenset(
    (*_SHARED, *_SLAVE, "private", "rprivate", "unbindable", "runbindable")
)


def render_mounts(
    request: BundleRequest, *, new_user_namespace: bool, init: str = ""
) -> list[dict[str, Any]]:
    """Default mounts that the client does not replace, then the client's, shallow targets first.

    Args:
        init: the host's init binary, bound where ``process.args`` starts it; empty: none asked for.

    Raises:
        InvalidArgument: a relative target.
    """
    taken = {_clean(mount.target) for mount in request.mounts}
    mounts = [
        m for m in _defaults(request, new_user_namespace) if not _replaced(m["destination"], taken)
    ]
    mounts += [_client_mount(mount) for mount in request.mounts]
    mounts.sort(
        key=lambda m: len(PurePosixPath(m["destination"]).parts)
    )  # stable: defaults come first
    if init:
        mounts.append(_mount(INIT_PATH, "bind", init, "bind", "ro", "rprivate"))
    return mounts


def _replaced(target: str, taken: set[str]) -> bool:
    """A client's own /dev brings its own pts, shm and mqueue along."""
    return target in taken or ("/dev" in taken and target.startswith("/dev/"))


def _defaults(request: BundleRequest, new_user_namespace: bool) -> list[dict[str, Any]]:
    security = request.spec.security
    host = request.host_namespaces
    access = "rw" if security.privileged else "ro"
    own_cgroups = security.writable_cgroups
    cgroups = access if own_cgroups is None else "rw" if own_cgroups else "ro"
    guarded = ("nosuid", "noexec", "nodev")
    # a user namespace may not mount what belongs to a namespace of the host: it gets the host's own, bound
    if new_user_namespace and "pid" in host:
        proc = _mount("/proc", "bind", "/proc", "rbind", *guarded)
    else:
        proc = _mount("/proc", "proc", "proc", *guarded)
    if new_user_namespace and "network" in host:
        sys = _mount("/sys", "bind", "/sys", "rbind", *guarded, access)
    else:
        sys = _mount("/sys", "sysfs", "sysfs", *guarded, access)
    if "ipc" in host:
        shm = _mount("/dev/shm", "bind", "/dev/shm", "rbind", *guarded)
    else:
        size = request.spec.shm_size_bytes or _DEFAULT_SHM_BYTES
        shm = _mount("/dev/shm", "tmpfs", "shm", *guarded, "mode=1777", f"size={size}")
    mounts = [
        proc,
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
               "ptmxmode=0666", "mode=0620", "gid=5"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *guarded),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *guarded, "relatime", cgroups),
        shm,
    ]  # fmt: skip
    return [m for m in mounts if m is not shm or not request.spec.shm_none]


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _client_mount(mount: ResolvedMount) -> dict[str, Any]:
    target = _clean(mount.target)
    if mount.type != "bind":
        return _mount(target, mount.type, mount.source, *mount.options)
    options = list(mount.options)
    if "bind" not in options and "rbind" not in options:
        options.insert(0, "rbind")
    if not _PROPAGATIONS.intersection(options):
        options.append("rprivate")
    return _mount(target, "bind", mount.source, *options)


def _clean(target: str) -> str:
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts:
        raise InvalidArgument("mount target", target, "must be absolute, without '..'")
    return str(path).replace("//", "/")


def rootfs_propagation(mounts: Iterable[ResolvedMount]) -> str:
    """``linux.rootfsPropagation`` that lets the mounts' own propagation work; empty: the runtime's default."""
    wanted = {option for mount in mounts for option in mount.options}
    if wanted & _SHARED:
        return "rshared"
    return "rslave" if wanted & _SLAVE else ""


def settle_propagation(
    mounts: Sequence[ResolvedMount], mountinfo: str
) -> tuple[ResolvedMount, ...]:
    """A shared (slave) mount needs a source on a shared (or slave) mount of the host; one that is so by default
    alone is made private where it has none.

    Raises:
        FailedPrecondition: names the source and the mount that it lies on.
    """
    peers = _propagation_of_mounts(mountinfo)
    settled = []
    for mount in mounts:
        settled.append(mount)
        wanted = set(mount.options)
        if mount.type != "bind" or not wanted & (_SHARED | _SLAVE):
            continue
        on = _mount_point_of(mount.source, peers)
        shared, slave = peers.get(on, (False, False))
        if mount.propagation_default and not (shared or slave):
            options = tuple(o for o in mount.options if o not in _SHARED | _SLAVE)
            settled[-1] = replace(mount, options=(*options, "rprivate"))
            continue
        if wanted & _SHARED and not shared:
            raise FailedPrecondition(
                "mount", "", f"path {mount.source} is mounted on {on} but it is not a shared mount"
            )
        if wanted & _SLAVE and not (shared or slave):
            raise FailedPrecondition(
                "mount",
                "",
                f"path {mount.source} is mounted on {on} but it is not a shared or slave mount",
            )
    return tuple(settled)


def _propagation_of_mounts(mountinfo: str) -> dict[str, tuple[bool, bool]]:
    """Mount point to (shared, slave); of stacked mounts the topmost, which comes last."""
    found = {}
    for line in mountinfo.splitlines():
        fields = line.partition(" - ")[0].split()
        if len(fields) >= 6:
            tags = [tag.partition(":")[0] for tag in fields[6:]]
            found[fields[4].replace("\\040", " ")] = ("shared" in tags, "master" in tags)
    return found


def _mount_point_of(path: str, points: Iterable[str]) -> str:
    inside = [p for p in points if p == "/" or path == p or path.startswith(f"{p}/")]
    return max(inside, key=len, default="/")
