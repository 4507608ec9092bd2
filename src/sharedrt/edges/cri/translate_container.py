"""ContainerConfig on the way in."""

import posixpath
from collections.abc import Callable

from sharedrt.edges.cri.extension import extension_of
from sharedrt.edges.cri.host import HostAbilities
from sharedrt.edges.cri.names import checked_container_metadata, container_name
from sharedrt.edges.cri.signals import signal_name
from sharedrt.edges.cri.translate_mounts import cdi_devices_of, devices_of, mounts_of
from sharedrt.edges.cri.translate_namespaces import container_namespaces
from sharedrt.edges.cri.translate_resources import oom_score_adj_of, resources_of
from sharedrt.edges.cri.translate_security import container_security, user_of
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.model.spec import ContainerSpec
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.contracts import NewContainer


async def new_container(
    config: pb.ContainerConfig,
    sandbox: SandboxRecord,
    host: HostAbilities,
    find_container: Callable[[str], ContainerRecord],
) -> NewContainer:
    """A container of ``sandbox``.

    Args:
        find_container: by full or short id, for the target of a debug container. Raises NotFound.

    Raises:
        InvalidArgument, FailedPrecondition, Unimplemented: each names its field. NotFound.
    """
    metadata = checked_container_metadata(config.metadata)
    if not config.image.image:
        raise InvalidArgument("config.image.image", "", "must not be empty")
    if is_present(config.windows):
        raise Unimplemented("a Windows container")
    log_path = _log_path(config.log_path, sandbox)
    # A kubelet that restores a container gives the archive's path as its image.
    checkpoint = config.image.image if config.image.image.startswith("/") else ""
    return NewContainer(
        name=container_name(metadata, sandbox),
        image="" if checkpoint else config.image.image,
        checkpoint=checkpoint,
        spec=await _spec(config, sandbox, host, find_container),
        sandbox_id=sandbox.id,
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        extensions=extension_of(config),
        log_path=log_path,
        keep_log=bool(log_path),
    )


async def _spec(
    config: pb.ContainerConfig,
    sandbox: SandboxRecord,
    host: HostAbilities,
    find_container: Callable[[str], ContainerRecord],
) -> ContainerSpec:
    context = config.linux.security_context
    return ContainerSpec(
        command=tuple(config.command) or None,
        args=tuple(config.args) or None,
        env=tuple(_environment(config)),
        cwd=config.working_dir,
        user=user_of(context),
        tty=config.tty,
        open_stdin=config.stdin,
        stdin_once=config.stdin_once,
        namespaces=container_namespaces(
            context.namespace_options,
            sandbox,
            host,
            privileged=context.privileged,
            find_container=find_container,
        ),
        security=await container_security(context, sandbox.spec, host),
        mounts=mounts_of(config.mounts, host),
        devices=devices_of(config.devices),
        cdi_devices=cdi_devices_of(config),
        resources=resources_of(config.linux.resources),
        oom_score_adj=oom_score_adj_of(config.linux.resources),
        stop_signal=signal_name(config.stop_signal),
        annotations=dict(config.annotations),
    )


def _environment(config: pb.ContainerConfig) -> list[str]:
    for variable in config.envs:
        if not variable.key or "=" in variable.key:
            raise InvalidArgument("envs.key", variable.key, "no valid variable name")
    return [f"{variable.key}={variable.value}" for variable in config.envs]


def _log_path(path: str, sandbox: SandboxRecord) -> str:
    """Below the pod's log directory; empty, and no log kept, when either is missing."""
    directory = sandbox.spec.log_directory
    if not path or not directory:
        return ""
    joined = posixpath.normpath(posixpath.join(directory, path))
    if not joined.startswith(posixpath.normpath(directory).rstrip("/") + "/"):
        raise InvalidArgument("log_path", path, f"outside of {directory}")
    return joined
