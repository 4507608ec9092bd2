from pathlib import Path

import pytest

from sharedrt.drivers.network.sysctls import check_sysctls
from sharedrt.model.faults import InvalidArgument

ALL = frozenset({"net", "ipc", "uts"})


def test_names_become_files() -> None:
    files = check_sysctls(
        {
            "kernel.shm_rmid_forced": "1",
            "fs.mqueue.msg_max": "20",
            "net.core.somaxconn": "1024",
            "net/ipv4/conf/eth0.1/forwarding": "1",
        },
        ALL,
    )
    assert files == {
        Path("/proc/sys/kernel/shm_rmid_forced"): "1",
        Path("/proc/sys/fs/mqueue/msg_max"): "20",
        Path("/proc/sys/net/core/somaxconn"): "1024",
        Path("/proc/sys/net/ipv4/conf/eth0.1/forwarding"): "1",
    }


@pytest.mark.parametrize(
    "name",
    [
        "vm.swappiness",
        "kernel.hostname",
        "kernel.panic",
        "net.ipv4...ip_forward",
        "net/../kernel/panic",
        "net.ipv4./etc/passwd",
        "kernel.shm",
        "",
    ],
)
def test_others_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_sysctls({name: "1"}, ALL)
    assert caught.value.value == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("net.core.somaxconn", "net"), ("kernel.sem", "ipc"), ("kernel.domainname", "uts")],
)
def test_a_namespace_shared_with_the_host_is_refused(name: str, kind: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{kind} namespace is shared with the host"):
        check_sysctls({name: "1"}, ALL - {kind})
