"""Users from /proc."""

import os

from sharedrt.edges.cri.process_user import ProcessUsers, parse_status
from sharedrt.edges.cri.render_container import ProcessUser
from sharedrt.model.records import ContainerState
from sharedrt.model.spec import ContainerSpec, IdMapping, Namespaces
from tests.edges.cri.builders import container

STATUS = (
    "Name:\tsh\nUid:\t1000\t1001\t1000\t1000\nGid:\t2000\t2001\t2000\t2000\nGroups:\t5 2001 7 \n"
)


def test_effective_ids_and_groups() -> None:
    assert parse_status(STATUS, container()) == ProcessUser(1001, 2001, (5, 2001, 7))


def test_primary_group_is_told_with_the_others() -> None:
    text = STATUS.replace("5 2001 7 ", "")
    assert parse_status(text, container()) == ProcessUser(1001, 2001, (2001,))


def test_numbers_are_the_containers_own() -> None:
    mapping = (IdMapping(0, 1000, 5000),)
    spec = ContainerSpec(namespaces=Namespaces(uid_mappings=mapping, gid_mappings=mapping))
    user = parse_status(STATUS, container(spec=spec))
    assert (user.uid, user.gid) == (1, 1001)


def test_first_answer_of_a_run_is_kept() -> None:
    users = ProcessUsers()
    running = container(state=ContainerState.RUNNING, pid=os.getpid(), started_ns=5)
    first = users.of(running)
    assert first is not None
    assert first.uid == os.geteuid()
    ended = container(state=ContainerState.EXITED, started_ns=5)
    assert users.of(ended) == first
    users.forget(ended.id)
    assert users.of(ended) is None
    assert users.of(container()) is None
