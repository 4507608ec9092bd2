"""Pods among a namespace's containers, as containerd's CRI plugin marks them."""

from typing import Final

from sharedrt.model.faults import Ambiguous, NotFound
from sharedrt.model.records import SandboxRecord
from sharedrt.services.contracts import NamespacedRuntime

KIND_LABEL: Final = "io.cri-containerd.kind"
SANDBOX_KIND: Final = "sandbox"
CONTAINER_KIND: Final = "container"


def find_pod(here: NamespacedRuntime, id: str) -> SandboxRecord | None:
    """By its full id."""
    try:
        record = here.pods.get(id)
    except (NotFound, Ambiguous):
        return None
    return record if record.id == id else None
