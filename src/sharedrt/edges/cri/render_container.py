"""Containers on the way out."""

from dataclasses import dataclass
from typing import Final

from sharedrt.edges.cri.extension import config_of
from sharedrt.edges.cri.signals import signal_value
from sharedrt.edges.cri.translate_resources import render_resources
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.images import Image

STATES: Final = {
    ContainerState.CREATED: pb.ContainerState.CONTAINER_CREATED,
    ContainerState.RUNNING: pb.ContainerState.CONTAINER_RUNNING,
    ContainerState.EXITED: pb.ContainerState.CONTAINER_EXITED,
    ContainerState.UNKNOWN: pb.ContainerState.CONTAINER_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class ProcessUser:
    """Who a container's first process runs as, in the container's own numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def item(record: ContainerRecord) -> pb.Container:
    """As ListContainers shows it: a function of the record alone."""
    config = config_of(pb.ContainerConfig, record.extensions)
    return pb.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id or "",
        metadata=config.metadata,
        image=_asked_image(config, record),
        image_ref=record.image_id,
        image_id=record.image_id,
        state=STATES[record.state],
        created_at=record.created_ns,
        labels=dict(record.labels),
        annotations=dict(record.annotations),
    )


def _asked_image(config: pb.ContainerConfig, record: ContainerRecord) -> pb.ImageSpec:
    """As asked for; of a restored container, which named an archive, the image that the archive named."""
    return pb.ImageSpec(image=record.image_reference) if record.spec.restored else config.image


def attributes(record: ContainerRecord) -> pb.ContainerAttributes:
    """As stats show it."""
    return pb.ContainerAttributes(
        id=record.id,
        metadata=config_of(pb.ContainerConfig, record.extensions).metadata,
        labels=dict(record.labels),
        annotations=dict(record.annotations),
    )


def status(
    record: ContainerRecord, image: Image | None, user: ProcessUser | None
) -> pb.ContainerStatus:
    """As ContainerStatus and events show it.

    Args:
        image: the image, if the namespace still has it; its names are told as of now.
        user: where it is known.
    """
    config = config_of(pb.ContainerConfig, record.extensions)
    spec = config.image
    signal = record.spec.stop_signal or record.image_defaults.stop_signal or "SIGTERM"
    return pb.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=STATES[record.state],
        created_at=record.created_ns,
        started_at=record.started_ns,
        finished_at=record.finished_ns,
        exit_code=record.exit_code,
        image=pb.ImageSpec(
            image=_image_name(spec, image),
            annotations=dict(spec.annotations),
            user_specified_image=spec.user_specified_image,
            runtime_handler=spec.runtime_handler,
        ),
        image_ref=_image_ref(record, image),
        image_id=record.image_id,
        reason=record.reason,
        message=record.message,
        labels=dict(record.labels),
        annotations=dict(record.annotations),
        mounts=_mounts(config, record),
        log_path=record.log_path,
        resources=pb.ContainerResources(
            linux=present(render_resources(record.spec.resources, record.spec.oom_score_adj))
        ),
        user=_user(user),
        stop_signal=signal_value(signal),
    )


def _mounts(config: pb.ContainerConfig, record: ContainerRecord) -> list[pb.Mount]:
    """As asked for; of images, which one it was."""
    mounts = []
    for mount, settled in zip(config.mounts, record.spec.mounts, strict=False):
        if settled.image_id:
            mount = pb.Mount.FromString(bytes(mount))  # the kept message is shared
            mount.image.image_ref = settled.image_id
        mounts.append(mount)
    return mounts


def _image_name(spec: pb.ImageSpec, image: Image | None) -> str:
    """A name for people: the tag that the user wrote if the image has it, or its first one."""
    if image is None:
        return spec.user_specified_image or spec.image
    names = image.repo_tags or image.repo_digests
    for asked in (spec.user_specified_image, spec.image):
        if asked in names:
            return asked
    return names[0] if names else spec.image


def _image_ref(record: ContainerRecord, image: Image | None) -> str:
    """The digest by which a registry knows the image, or its id when none ever did."""
    if image is not None and image.repo_digests:
        return image.repo_digests[0]
    return record.image_id


def _user(user: ProcessUser | None) -> pb.ContainerUser:
    if user is None:
        return pb.ContainerUser()
    return pb.ContainerUser(
        linux=present(
            pb.LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=list(user.groups))
        )
    )
