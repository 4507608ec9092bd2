"""Who a container's first process started as, told from /proc.

Only the OCI driver resolves names, and what it found is the kernel's to tell. A process may change its
user later on, so the first answer for a run is kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sharedrt.edges.cri.render_container import ProcessUser
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import IdMapping


class ProcessUsers:
    """Users of containers' first processes, by container."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, ProcessUser]] = {}

    def of(self, record: ContainerRecord) -> ProcessUser | None:
        """``None`` before its start, and for one that ended before anybody asked."""
        kept = self._known.get(record.id)
        if kept is not None and kept[0] == record.started_ns:
            return kept[1]
        if record.state is not ContainerState.RUNNING:
            return None
        try:
            text = Path(f"/proc/{record.pid}/status").read_text()
        except OSError:
            return None
        user = parse_status(text, record)
        self._known[record.id] = (record.started_ns, user)
        return user

    def forget(self, id: str) -> None:
        """The container is gone."""
        self._known.pop(id, None)


def parse_status(text: str, record: ContainerRecord) -> ProcessUser:
    """From /proc/PID/status (proc(5): effective ids are the second of four), in the container's numbers."""
    fields = {line.split(":")[0]: line.split()[1:] for line in text.splitlines() if ":" in line}
    namespaces = record.spec.namespaces
    gid = _inside(_second(fields, "Gid"), namespaces.gid_mappings)
    groups = [_inside(int(word), namespaces.gid_mappings) for word in fields.get("Groups", ())]
    if gid not in groups:
        groups.insert(0, gid)
    return ProcessUser(_inside(_second(fields, "Uid"), namespaces.uid_mappings), gid, tuple(groups))


def _second(fields: Mapping[str, Sequence[str]], name: str) -> int:
    return int(fields[name][1])


def _inside(id: int, mappings: Sequence[IdMapping]) -> int:
    for mapping in mappings:
        if mapping.host_id <= id < mapping.host_id + mapping.size:
            return id - mapping.host_id + mapping.container_id
    return id
