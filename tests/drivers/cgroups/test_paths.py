"""Names of cgroups under both drivers."""

import pytest

from sharedrt.drivers.cgroups.manager import choose_driver
from sharedrt.drivers.cgroups.paths import CgroupDriver, container_cgroup, expand_slice, parent_path
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace

KEY = ContainerKey(Namespace("k8s.io"), ContainerId("abc"))


def test_slices_unfold() -> None:
    assert expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert expand_slice("system.slice") == "/system.slice"
    assert expand_slice("-.slice") == "/"


@pytest.mark.parametrize("name", ["a", "a--b.slice", ".slice", "-a.slice", "a/b.slice"])
def test_what_is_no_slice(name: str) -> None:
    with pytest.raises(InvalidArgument):
        expand_slice(name)


def test_cgroupfs() -> None:
    """A pod's container has its bare id for a name: the kubelet's cAdvisor finds it by that."""
    name = container_cgroup(CgroupDriver.CGROUPFS, "/kubepods/pod1", KEY)
    assert name.oci_path == name.path == "/kubepods/pod1/abc"
    assert container_cgroup(CgroupDriver.CGROUPFS, "/", KEY).path == "/abc"
    moby = ContainerKey(Namespace("moby"), ContainerId("abc"))
    assert container_cgroup(CgroupDriver.CGROUPFS, "/p", moby).path == "/p/moby:abc"
    assert parent_path(CgroupDriver.CGROUPFS, "relative/x") == "/relative/x"


@pytest.mark.parametrize("parent", ["/a/../b", "..", "/x/.."])
def test_no_way_up(parent: str) -> None:
    with pytest.raises(InvalidArgument):
        parent_path(CgroupDriver.CGROUPFS, parent)


def test_systemd() -> None:
    name = container_cgroup(CgroupDriver.SYSTEMD, "/kubepods.slice/kubepods-pod1.slice", KEY)
    assert name.oci_path == "kubepods-pod1.slice:sharedrt\\x2dk8s.io:abc"
    assert name.path == "/kubepods.slice/kubepods-pod1.slice/sharedrt\\x2dk8s.io-abc.scope"


def test_two_namespaces_never_meet() -> None:
    """Even where '-' in a name could make them alike."""
    one = ContainerKey(Namespace("a"), ContainerId("b-c"))
    two = ContainerKey(Namespace("a-b"), ContainerId("c"))
    pod, other = KEY, ContainerKey(Namespace("moby"), KEY.id)
    for driver, parent in ((CgroupDriver.CGROUPFS, "/p"), (CgroupDriver.SYSTEMD, "p.slice")):
        assert container_cgroup(driver, parent, one) != container_cgroup(driver, parent, two)
        assert container_cgroup(driver, parent, pod) != container_cgroup(driver, parent, other)


def test_driver_choice() -> None:
    assert choose_driver("auto", systemd_running=True) is CgroupDriver.SYSTEMD
    assert choose_driver("auto", systemd_running=False) is CgroupDriver.CGROUPFS
    assert choose_driver("cgroupfs", systemd_running=True) is CgroupDriver.CGROUPFS
    for wrong in ("systemd", "other"):
        with pytest.raises(InvalidArgument):
            choose_driver(wrong, systemd_running=False)
