"""Filters of the List and Stream calls. All that are set must fit; a short id stands for the object it names."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sharedrt.edges.cri import render_container, render_sandbox
from sharedrt.edges.cri.extension import has_config
from sharedrt.model.faults import Ambiguous, NotFound
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime.v1 import (
    ContainerFilter,
    ContainerStatsFilter,
    PodSandboxFilter,
    PodSandboxStatsFilter,
)
from sharedrt.services.contracts import Containers, Pods

R = TypeVar("R", ContainerRecord, SandboxRecord)


def select_sandboxes(
    pods: Pods, filter: PodSandboxFilter | PodSandboxStatsFilter
) -> Sequence[SandboxRecord]:
    """In the order of their making."""
    records = _by_id(pods.list, pods.get, filter.id)
    if isinstance(filter, PodSandboxFilter) and is_present(filter.state):
        wanted = filter.state.state
        records = [r for r in records if render_sandbox.STATES[r.state] == wanted]
    return _with_labels(records, filter.label_selector)


def select_containers(
    containers: Containers, pods: Pods, filter: ContainerFilter | ContainerStatsFilter
) -> Sequence[ContainerRecord]:
    """The same for containers of pods; those that ``ctr`` made in this namespace are not the kubelet's."""
    records = _by_id(containers.list, containers.get, filter.id)
    records = [r for r in records if r.sandbox_id is not None and has_config(r.extensions)]
    if filter.pod_sandbox_id:
        sandboxes = _by_id(pods.list, pods.get, filter.pod_sandbox_id)
        ids = {sandbox.id for sandbox in sandboxes}
        records = [r for r in records if r.sandbox_id in ids]
    if isinstance(filter, ContainerFilter) and is_present(filter.state):
        wanted = filter.state.state
        records = [r for r in records if render_container.STATES[r.state] == wanted]
    return _with_labels(records, filter.label_selector)


def _by_id(all: Callable[[], Sequence[R]], get: Callable[[str], R], ref: str) -> Sequence[R]:
    if not ref:
        return all()
    try:
        return [get(ref)]
    except (NotFound, Ambiguous):
        return []


def _with_labels(records: Sequence[R], selector: Mapping[str, str]) -> Sequence[R]:
    if not selector:
        return records
    wanted = selector.items()
    return [record for record in records if wanted <= dict(record.labels).items()]
