"""NamespaceOption: the pod decides, its containers follow."""

import pytest

from sharedrt.edges.cri.translate_namespaces import (
    check_sandbox_options,
    container_namespaces,
    user_ranges,
)
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.model.spec import IdMapping, NamespaceMode, NamespaceRef, Namespaces
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.pb.runtime.v1 import NamespaceMode as Mode
from tests.edges.cri.builders import (
    HOST,
    OLD_HOST,
    OTHER_ID,
    container,
    no_containers,
    sandbox,
)

SANDBOX = NamespaceRef(NamespaceMode.SANDBOX)
ON_HOST = NamespaceRef(NamespaceMode.HOST)
PRIVATE = NamespaceRef()


def joined(
    options: pb.NamespaceOption, pod: SandboxRecord, *, privileged: bool = False
) -> Namespaces:
    return container_namespaces(
        options, pod, HOST, privileged=privileged, find_container=no_containers
    )


def test_containers_of_an_ordinary_pod() -> None:
    namespaces = joined(pb.NamespaceOption(pid=Mode.CONTAINER), sandbox())
    assert (namespaces.network, namespaces.uts, namespaces.ipc) == (SANDBOX, SANDBOX, SANDBOX)
    assert namespaces.pid == PRIVATE
    assert namespaces.user == ON_HOST
    assert namespaces.cgroup == PRIVATE


def test_host_namespaces_follow_the_pod_even_when_the_container_says_nothing() -> None:
    pod = sandbox(host_network=True, host_pid=True, host_ipc=True)
    for options in (
        pb.NamespaceOption(),
        pb.NamespaceOption(network=Mode.NODE, pid=Mode.NODE, ipc=Mode.NODE),
    ):
        namespaces = joined(options, pod)
        assert (namespaces.network, namespaces.uts) == (ON_HOST, ON_HOST)
        assert (namespaces.pid, namespaces.ipc) == (ON_HOST, ON_HOST)


@pytest.mark.parametrize("name", ["network", "pid", "ipc"])
def test_a_container_cannot_have_the_hosts_when_its_pod_has_not(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        joined(pb.NamespaceOption(**{name: Mode.NODE}), sandbox())


def test_shared_pid_namespace() -> None:
    assert joined(pb.NamespaceOption(), sandbox(share_pid=True)).pid == SANDBOX
    assert joined(pb.NamespaceOption(), sandbox(share_pid=False)).pid == PRIVATE


def test_debug_container_joins_its_target() -> None:
    target = container()
    options = pb.NamespaceOption(pid=Mode.TARGET, target_id=target.id[:12])

    def join(found: ContainerRecord) -> NamespaceRef:
        return container_namespaces(
            options, sandbox(), HOST, privileged=False, find_container=lambda _: found
        ).pid

    assert join(target) == NamespaceRef(NamespaceMode.CONTAINER, target.id)
    with pytest.raises(InvalidArgument, match="another pod"):
        join(container(OTHER_ID))
    with pytest.raises(NotFound):
        joined(options, sandbox())


def test_privileged_keeps_the_hosts_cgroup_namespace() -> None:
    assert joined(pb.NamespaceOption(), sandbox(), privileged=True).cgroup == ON_HOST


@pytest.mark.parametrize(
    "options",
    [
        pb.NamespaceOption(network=Mode.CONTAINER),
        pb.NamespaceOption(network=Mode.TARGET),
        pb.NamespaceOption(pid=Mode.TARGET),
        pb.NamespaceOption(ipc=Mode.TARGET),
        pb.NamespaceOption(pid=17),  # type: ignore[arg-type]
    ],
)
def test_modes_that_a_pod_cannot_have(options: pb.NamespaceOption) -> None:
    with pytest.raises(InvalidArgument):
        check_sandbox_options(options)


def options_with(users: pb.UserNamespace, **fields: Mode) -> pb.NamespaceOption:
    options = pb.NamespaceOption(userns_options=present(users), **fields)
    return pb.NamespaceOption.FromString(bytes(options))


RANGE = pb.IdMapping(container_id=0, host_id=100_000, length=65536)


def test_user_namespace_of_a_pod_and_its_containers() -> None:
    asked = options_with(pb.UserNamespace(mode=Mode.POD, uids=[RANGE], gids=[RANGE]))
    expected = ((0, 100_000, 65536),)
    assert user_ranges(asked, HOST) == (expected, expected)
    pod = sandbox(user_mappings=expected, group_mappings=expected)
    namespaces = joined(asked, pod)
    assert namespaces.user == SANDBOX
    assert namespaces.uid_mappings == (IdMapping(0, 100_000, 65536),)


def test_no_user_namespace() -> None:
    assert user_ranges(pb.NamespaceOption(), HOST) == ((), ())
    assert user_ranges(options_with(pb.UserNamespace(mode=Mode.NODE)), HOST) == ((), ())


def test_user_namespaces_that_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="uids"):
        user_ranges(options_with(pb.UserNamespace(mode=Mode.POD)), HOST)
    whole = pb.UserNamespace(mode=Mode.POD, uids=[RANGE], gids=[RANGE])
    with pytest.raises(FailedPrecondition, match=r"5\.19"):
        user_ranges(options_with(whole), OLD_HOST)
    with pytest.raises(Unimplemented, match="network"):
        user_ranges(options_with(whole, network=Mode.NODE), HOST)
    with pytest.raises(InvalidArgument, match="mode"):
        user_ranges(options_with(pb.UserNamespace(mode=Mode.CONTAINER)), HOST)
