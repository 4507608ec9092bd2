"""The verbose ``info`` of status calls: JSON texts, with the keys that crictl users know from containerd."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sharedrt.edges.cri.extension import config_of
from sharedrt.edges.cri.message_json import message_json
from sharedrt.model.codec import to_json
from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerRecord, ContainerState, SandboxRecord, SandboxState
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.contracts import HostInfo, Pods

_SNAPSHOTTER = "overlayfs"


def sandbox_info(record: SandboxRecord, pid: int) -> dict[str, str]:
    """For PodSandboxStatus; ``runtimeSpec`` holds the namespaces' paths, as network tools look for them.

    Args:
        pid: of the process that stands for the pod, see :meth:`Pods.first_process`.
    """
    ready = record.state is SandboxState.READY
    namespaces = [{"type": kind, "path": path} for kind, path in record.namespace_paths.items()]
    return _info(
        {
            "sandboxID": record.id,
            "pid": pid,
            "processStatus": "running" if ready else "deleted",
            "netNamespaceClosed": not ready or record.network_torn_down,
            "runtimeHandler": record.runtime_handler,
            "sandboxMetadata": message_json(_sandbox_config(record).metadata),
            "config": message_json(_sandbox_config(record)),
            "runtimeSpec": {
                "hostname": record.spec.hostname,
                "annotations": dict(record.annotations),
                "linux": {
                    "namespaces": namespaces,
                    "cgroupsPath": record.spec.cgroup_parent,
                    "sysctl": dict(record.spec.sysctls),
                },
            },
            "cniResult": record.cni_result,
            "overhead": to_json(record.spec.overhead),
            "resources": to_json(record.spec.resources),
        }
    )


def container_info(
    record: ContainerRecord,
    pods: Pods,
    runtime_spec: Mapping[str, Any] | None,
    default_handler: str,
) -> dict[str, str]:
    """For ContainerStatus. ``runtimeSpec`` is what the OCI runtime was given, as long as it runs."""
    try:
        sandbox = pods.get(record.sandbox_id or "")
    except NotFound:
        sandbox = None
    return _info(
        {
            "sandboxID": record.sandbox_id,
            "pid": record.pid,
            "removing": False,
            "snapshotKey": record.snapshot_key,
            "snapshotter": _SNAPSHOTTER,
            "runtimeType": record.runtime_handler or default_handler,
            "runtimeHandler": sandbox.runtime_handler if sandbox else "",
            "running": record.state is ContainerState.RUNNING,
            "config": message_json(config_of(pb.ContainerConfig, record.extensions)),
            "spec": to_json(record.spec),
            "runtimeSpec": runtime_spec,
        }
    )


def runtime_info(host: HostInfo, pod_cidr: str) -> dict[str, str]:
    """For Status. Each value is a JSON text of its own: ``crictl info`` prints them side by side."""
    facts = asdict(host)
    facts["runtimes"] = dict(host.runtimes)
    facts["components"] = dict(host.components)
    return {
        "config": _text({**facts, "podCIDR": pod_cidr}),
        "problems": _text(list(host.problems)),
    }


def _sandbox_config(record: SandboxRecord) -> pb.PodSandboxConfig:
    return config_of(pb.PodSandboxConfig, record.extensions)


def _info(value: dict[str, Any]) -> dict[str, str]:
    return {"info": _text(value)}


def _text(value: Any) -> str:
    return json.dumps(value, default=str)
