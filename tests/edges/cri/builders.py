"""Hosts, sandboxes and containers for translation tests."""

from dataclasses import replace
from typing import Any

from sharedrt.edges.cri.host import HostAbilities
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import ContainerId, Digest, SandboxId
from sharedrt.model.records import (
    ContainerRecord,
    SandboxRecord,
    SandboxSpec,
    SandboxState,
)
from sharedrt.model.spec import ContainerSpec, Security
from sharedrt.pb.runtime import v1 as pb

HOST = HostAbilities("node1", (6, 1), cgroup_v2=True, apparmor=False, selinux=False)
OLD_HOST = replace(HOST, kernel=(5, 4), cgroup_v2=False)
SANDBOX_ID = SandboxId("5a" * 32)
OTHER_ID = SandboxId("6b" * 32)


def sandbox(*, privileged: bool = False, **spec: Any) -> SandboxRecord:
    """A ready pod ``web`` of namespace ``shop``."""
    spec.setdefault("log_directory", "/var/log/pods/shop_web_u1")
    return SandboxRecord(
        id=SANDBOX_ID,
        name="web",
        uid="u1",
        pod_namespace="shop",
        attempt=2,
        spec=SandboxSpec(security=Security(privileged=privileged), **spec),
        state=SandboxState.READY,
        created_ns=7,
    )


def container(sandbox_id: SandboxId = SANDBOX_ID, **fields: Any) -> ContainerRecord:
    """A container as the store has it."""
    return ContainerRecord(
        **{
            "id": ContainerId("c1" * 32),
            "name": "app_web_shop_u1_0",
            "image_reference": "busybox",
            "image_id": Digest("sha256:" + "ab" * 32),
            "spec": ContainerSpec(),
            "sandbox_id": sandbox_id,
            **fields,
        }
    )


def no_containers(ref: str) -> ContainerRecord:
    raise NotFound("container", ref)


def over_the_wire(config: pb.ContainerConfig) -> pb.ContainerConfig:
    """As it arrives: presence is told by the bytes."""
    return pb.ContainerConfig.FromString(bytes(config))


def config(**fields: Any) -> pb.ContainerConfig:
    """The smallest container, with changes, as it arrives."""
    return over_the_wire(
        pb.ContainerConfig(
            **{
                "metadata": pb.ContainerMetadata(name="app"),
                "image": pb.ImageSpec(image="busybox"),
                "log_path": "app/0.log",
                **fields,
            }
        )
    )


def secured(**fields: Any) -> pb.ContainerConfig:
    """A container with this security context."""
    context = pb.LinuxContainerSecurityContext(**fields)
    return config(linux=pb.LinuxContainerConfig(security_context=context))
