"""Mounts and devices on the way in."""

from collections.abc import Sequence
from typing import Final

from sharedrt.edges.cri.host import HostAbilities
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.spec import Device, IdMapping, Mount, MountKind
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.pb.runtime.v1 import MountPropagation

_PROPAGATION: Final = {
    MountPropagation.PROPAGATION_PRIVATE: "rprivate",
    MountPropagation.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    MountPropagation.PROPAGATION_BIDIRECTIONAL: "rshared",
}
CDI_ANNOTATION_PREFIX: Final = "cdi.k8s.io/"


def mounts_of(mounts: Sequence[pb.Mount], host: HostAbilities) -> tuple[Mount, ...]:
    """Raises InvalidArgument, FailedPrecondition; names the mount's path in the container."""
    return tuple(_mount(mount, host) for mount in mounts)


def _mount(mount: pb.Mount, host: HostAbilities) -> Mount:
    target = mount.container_path
    if not target.startswith("/"):
        raise InvalidArgument("mount container_path", target, "must be an absolute path")
    if mount.propagation not in _PROPAGATION:
        raise InvalidArgument("mount propagation", int(mount.propagation), "unknown")
    if mount.recursive_read_only:
        _check_recursive_read_only(mount, host)
    if is_present(mount.image) and mount.image.image:
        return _image_mount(mount)
    if mount.image_sub_path:
        raise InvalidArgument("mount image_sub_path", target, "the mount is of no image")
    if not mount.host_path:
        raise InvalidArgument("mount host_path", target, "must not be empty")
    return Mount(
        kind=MountKind.BIND,
        source=mount.host_path,
        target=target,
        readonly=mount.readonly,
        recursive_readonly=mount.recursive_read_only,
        propagation=_PROPAGATION[mount.propagation],
        # A hostPath without a type may be missing: runtimes make the folder.
        create_source=True,
        # With the container's own level: the kubelet asks for it where one pod has the volume.
        selinux_relabel="private" if mount.selinux_relabel else "",
        uid_mappings=mappings_of(mount.uid_mappings),
        gid_mappings=mappings_of(mount.gid_mappings),
    )


def _image_mount(mount: pb.Mount) -> Mount:
    if mount.host_path:
        raise InvalidArgument(
            "mount host_path", mount.host_path, "an image mount must not have one as well"
        )
    if not mount.readonly:
        raise InvalidArgument("mount readonly", False, "an image can be mounted read-only alone")
    return Mount(
        kind=MountKind.IMAGE,
        source=mount.image.image,
        target=mount.container_path,
        readonly=True,
        sub_path=mount.image_sub_path,
        uid_mappings=mappings_of(mount.uid_mappings),
        gid_mappings=mappings_of(mount.gid_mappings),
    )


def _check_recursive_read_only(mount: pb.Mount, host: HostAbilities) -> None:
    if not mount.readonly:
        raise InvalidArgument(
            "mount recursive_read_only", mount.container_path, "needs readonly as well"
        )
    if mount.propagation != MountPropagation.PROPAGATION_PRIVATE:
        raise InvalidArgument(
            "mount recursive_read_only", mount.container_path, "needs private propagation"
        )
    if not host.recursive_read_only:
        raise FailedPrecondition(
            "mount", mount.container_path, "recursive_read_only needs Linux 5.12"
        )


def mappings_of(mappings: Sequence[pb.IdMapping]) -> tuple[IdMapping, ...]:
    """User-namespace ranges."""
    return tuple(IdMapping(m.container_id, m.host_id, m.length) for m in mappings)


def devices_of(devices: Sequence[pb.Device]) -> tuple[Device, ...]:
    """Raises InvalidArgument for permissions outside ``rwm``."""
    out = []
    for device in devices:
        permissions = device.permissions or "rwm"
        if not set(permissions) <= set("rwm"):
            raise InvalidArgument("device permissions", device.permissions, "not out of rwm")
        if not device.host_path.startswith("/"):
            raise InvalidArgument("device host_path", device.host_path, "must be absolute")
        out.append(Device(device.host_path, device.container_path or device.host_path, permissions))
    return tuple(out)


def cdi_devices_of(config: pb.ContainerConfig) -> tuple[str, ...]:
    """Fully qualified CDI names, from the field and from annotations as older device plugins give them."""
    names = [device.name for device in config.cdi_devices]
    for key, value in config.annotations.items():
        if key.startswith(CDI_ANNOTATION_PREFIX):
            names += [name for name in value.split(",") if name not in names]
    return tuple(names)
