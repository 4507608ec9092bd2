"""Records as the JSON objects that this door answers with. Times are nanoseconds since the epoch."""

from typing import Any

from sharedrt.edges.admin.prometheus import state_of
from sharedrt.model.findings import Finding
from sharedrt.model.ids import Namespace
from sharedrt.model.records import (
    BlobRecord,
    ContainerRecord,
    EventRecord,
    NamespaceRecord,
    SandboxRecord,
)
from sharedrt.services.contracts import HostInfo, NamespacedRuntime
from sharedrt.services.images import Image

View = dict[str, Any]


def version_view(host: HostInfo) -> View:
    return {
        "version": host.version,
        "revision": host.git_commit,
        "instance": host.instance_id,
        "started_ns": host.started_ns,
        "kernel": host.kernel,
        "operating_system": host.operating_system,
        "architecture": host.architecture,
        "cgroup_version": host.cgroup_version,
        "cgroup_driver": host.cgroup_driver,
        "default_runtime": host.default_runtime,
        "runtimes": dict(host.runtimes),
        "components": dict(host.components),
        "problems": list(host.problems),
        "state_dir": host.state_dir,
    }


def namespace_view(record: NamespaceRecord, here: NamespacedRuntime) -> View:
    return {
        "name": record.name,
        "labels": dict(record.labels),
        "created_ns": record.created_ns,
        "containers": len(here.containers.list()),
        "pods": len(here.pods.list()),
        "images": len(here.images.list()),
    }


def container_view(namespace: Namespace, record: ContainerRecord) -> View:
    return {
        "namespace": namespace,
        "id": record.id,
        "name": record.name,
        "image": record.image_reference,
        "image_id": record.image_id,
        "pod": record.sandbox_id or "",
        "state": state_of(record),
        "reason": record.reason,
        "exit_code": record.exit_code,
        "pid": record.pid,
        "labels": dict(record.labels),
        "created_ns": record.created_ns,
        "started_ns": record.started_ns,
        "finished_ns": record.finished_ns,
    }


def pod_view(namespace: Namespace, record: SandboxRecord, containers: int) -> View:
    return {
        "namespace": namespace,
        "id": record.id,
        "name": record.name,
        "pod_namespace": record.pod_namespace,
        "uid": record.uid,
        "attempt": record.attempt,
        "state": record.state.value,
        "addresses": list(record.addresses),
        "containers": containers,
        "labels": dict(record.labels),
        "created_ns": record.created_ns,
    }


def image_view(namespace: Namespace, image: Image) -> View:
    return {
        "namespace": namespace,
        "id": image.id,
        "references": list(image.references),
        "target": image.target.digest,
        "media_type": image.target.media_type,
        "platform": image.config.platform,
        "content_size_bytes": image.content_size_bytes,
        "unpacked_size_bytes": image.unpacked_size_bytes,
        "pinned": image.pinned,
        "created_ns": image.created_ns,
    }


def blob_view(namespace: Namespace, record: BlobRecord) -> View:
    return {
        "namespace": namespace,
        "digest": record.digest,
        "size_bytes": record.size,
        "media_type": record.media_type,
        "labels": dict(record.labels),
        "created_ns": record.created_ns,
    }


def event_view(namespace: Namespace, record: EventRecord) -> View:
    return {
        "namespace": namespace,
        "time_ns": record.time_ns,
        "kind": record.kind,
        "action": record.action,
        "actor": record.actor,
        "attributes": dict(record.attributes),
    }


def finding_view(finding: Finding) -> View:
    return {
        "subject": finding.subject,
        "level": finding.level.value,
        "detail": finding.detail,
        "cure": finding.cure,
    }
