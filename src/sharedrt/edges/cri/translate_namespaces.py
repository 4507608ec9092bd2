"""NamespaceOption: which Linux namespaces a pod has, and which of them its containers join.

The sandbox decides; its containers follow. A container's option equal to the enumeration's zero (POD) cannot
be told from no option at all, so only another one that contradicts the sandbox is an error. The CRI's
default PID mode is POD, though the kubelet asks for CONTAINER unless ``shareProcessNamespace`` is set.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sharedrt.edges.cri.host import HostAbilities
from sharedrt.edges.cri.translate_mounts import mappings_of
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, Unimplemented
from sharedrt.model.records import ContainerRecord, SandboxRecord, SandboxSpec
from sharedrt.model.spec import NamespaceMode, NamespaceRef, Namespaces
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime.v1 import IdMapping, NamespaceOption
from sharedrt.pb.runtime.v1 import NamespaceMode as Mode

_SANDBOX: Final = NamespaceRef(NamespaceMode.SANDBOX)
_HOST: Final = NamespaceRef(NamespaceMode.HOST)
_PRIVATE: Final = NamespaceRef(NamespaceMode.PRIVATE)

Ranges = tuple[tuple[int, int, int], ...]


def check_sandbox_options(options: NamespaceOption) -> None:
    """Raises InvalidArgument for a mode that a pod cannot have."""
    _check_mode("network", options.network, (Mode.POD, Mode.NODE))
    _check_mode("pid", options.pid, (Mode.POD, Mode.CONTAINER, Mode.NODE))
    _check_mode("ipc", options.ipc, (Mode.POD, Mode.CONTAINER, Mode.NODE))


def user_ranges(options: NamespaceOption, host: HostAbilities) -> tuple[Ranges, Ranges]:
    """A pod's user and group mappings; both empty without a user namespace.

    Raises:
        InvalidArgument: not exactly one range of each. Unimplemented, FailedPrecondition: this host cannot.
    """
    asked = options.userns_options
    if not is_present(asked) or asked.mode == Mode.NODE:
        if asked.uids or asked.gids:
            raise InvalidArgument("userns_options", "NODE", "mappings need mode POD")
        return (), ()
    _check_mode("userns_options.mode", asked.mode, (Mode.POD, Mode.NODE))
    if options.network == Mode.NODE:
        raise Unimplemented("a user namespace with the host's network")
    if not host.idmapped_overlay:
        raise FailedPrecondition("user namespace", "", "needs Linux 5.19 (idmapped overlayfs)")
    return _range("uids", asked.uids), _range("gids", asked.gids)


def _range(name: str, mappings: Sequence[IdMapping]) -> Ranges:
    if len(mappings) != 1:
        raise InvalidArgument(f"userns_options.{name}", len(mappings), "must be exactly one range")
    mapping = mappings[0]
    if not mapping.length:
        raise InvalidArgument(f"userns_options.{name}", 0, "length must not be 0")
    return ((mapping.container_id, mapping.host_id, mapping.length),)


def container_namespaces(
    options: NamespaceOption,
    sandbox: SandboxRecord,
    host: HostAbilities,
    *,
    privileged: bool,
    find_container: Callable[[str], ContainerRecord],
) -> Namespaces:
    """What a container joins.

    Raises:
        InvalidArgument: a mode that contradicts the pod's. NotFound: the target of mode TARGET.
    """
    spec = sandbox.spec
    _follow("network", options.network, on_host=spec.host_network)
    _check_mode("network", options.network, (Mode.POD, Mode.NODE))
    return Namespaces(
        network=_HOST if spec.host_network else _SANDBOX,
        uts=_HOST if spec.host_network else _SANDBOX,
        pid=_pid(options, sandbox, find_container),
        ipc=_ipc(options, spec),
        # A private one on v1 would hide the paths that tools for v1 read there.
        cgroup=_PRIVATE if host.cgroup_v2 and not privileged else _HOST,
        user=_SANDBOX if spec.user_mappings else _HOST,
        uid_mappings=mappings_of([_pb_range(r) for r in spec.user_mappings]),
        gid_mappings=mappings_of([_pb_range(r) for r in spec.group_mappings]),
    )


def _pb_range(range: tuple[int, int, int]) -> IdMapping:
    return IdMapping(container_id=range[0], host_id=range[1], length=range[2])


def _pid(
    options: NamespaceOption,
    sandbox: SandboxRecord,
    find_container: Callable[[str], ContainerRecord],
) -> NamespaceRef:
    spec = sandbox.spec
    match options.pid:
        case Mode.TARGET:
            target = find_container(options.target_id)
            if target.sandbox_id != sandbox.id:
                raise InvalidArgument(
                    "namespace_options.target_id", options.target_id, "is of another pod"
                )
            return NamespaceRef(NamespaceMode.CONTAINER, target.id)
        case Mode.CONTAINER:
            return _PRIVATE
        case Mode.NODE:
            _follow("pid", options.pid, on_host=spec.host_pid)
            return _HOST
        case Mode.POD:
            if spec.host_pid:
                return _HOST
            return _SANDBOX if spec.share_pid else _PRIVATE
        case _:
            raise InvalidArgument("namespace_options.pid", int(options.pid), "unknown mode")


def _ipc(options: NamespaceOption, spec: SandboxSpec) -> NamespaceRef:
    _check_mode("ipc", options.ipc, (Mode.POD, Mode.CONTAINER, Mode.NODE))
    _follow("ipc", options.ipc, on_host=spec.host_ipc)
    if spec.host_ipc:
        return _HOST
    return _PRIVATE if options.ipc == Mode.CONTAINER else _SANDBOX


def _follow(name: str, mode: int, *, on_host: bool) -> None:
    if mode == Mode.NODE and not on_host:
        raise InvalidArgument(f"namespace_options.{name}", "NODE", "the pod has one of its own")


def _check_mode(name: str, mode: int, allowed: Sequence[Mode]) -> None:
    if mode not in allowed:
        try:
            shown: object = Mode(mode).name
        except ValueError:
            shown = int(mode)
        words = ", ".join(str(m.name) for m in allowed)
        raise InvalidArgument(f"namespace_options.{name}", shown, f"must be one of {words}")
