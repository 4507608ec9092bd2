"""Mounts: defaults, order, and propagation."""

from pathlib import Path
from typing import Any

import pytest

from sharedrt.drivers.oci.spec_mounts import render_mounts, rootfs_propagation, settle_propagation
from sharedrt.model.drivers import BundleRequest, ResolvedMount
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.spec import ContainerSpec, ImageDefaults

MOUNTINFO = """\
20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 0:5 / /mnt rw - tmpfs t rw
22 20 0:6 / /srv rw master:4 - tmpfs t rw
23 20 0:7 / /a\\040b rw shared:9 - tmpfs t rw
24 20 0:8 / /mnt rw shared:3 - tmpfs over rw
"""


def mounts(
    *client: ResolvedMount, host: frozenset[str] = frozenset(), **spec: Any
) -> list[dict[str, Any]]:
    request = BundleRequest(
        ContainerKey(Namespace("n"), ContainerId("c")), "", Path("/r"), ContainerSpec(**spec), ImageDefaults(),
        "h", "/p", host_namespaces=host, mounts=client,
    )  # fmt: skip
    return render_mounts(request, new_user_namespace=False)


def test_defaults() -> None:
    found = {m["destination"]: m for m in mounts(shm_size_bytes=1 << 20)}
    assert set(found) == {
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/mqueue",
        "/dev/shm",
        "/sys",
        "/sys/fs/cgroup",
    }
    assert "size=1048576" in found["/dev/shm"]["options"]
    assert "ro" in found["/sys"]["options"]
    assert found["/sys/fs/cgroup"]["type"] == "cgroup"
    shm = next(m for m in mounts(host=frozenset(("ipc",))) if m["destination"] == "/dev/shm")
    assert (shm["type"], shm["source"]) == ("bind", "/dev/shm")


def test_order_is_by_depth_and_clients_replace_defaults() -> None:
    found = mounts(
        ResolvedMount("/h/deep", "/data/a/b"),
        ResolvedMount("/h/shm", "/dev/shm/"),
        ResolvedMount("/h/data", "/data"),
        ResolvedMount("", "/dev/pts/x", "tmpfs", ("size=1m",)),
    )
    targets = [m["destination"] for m in found]
    assert targets.index("/data") < targets.index("/data/a/b")
    assert targets.index("/dev") < targets.index("/dev/pts") < targets.index("/dev/pts/x")
    assert targets.count("/dev/shm") == 1
    assert next(m for m in found if m["destination"] == "/dev/shm")["source"] == "/h/shm"
    assert found[-1]["options"] in (["size=1m"], ["rbind", "rprivate"])


def test_own_dev_brings_its_own() -> None:
    targets = [m["destination"] for m in mounts(ResolvedMount("/dev", "/dev"))]
    assert [t for t in targets if t.startswith("/dev")] == ["/dev"]


@pytest.mark.parametrize("target", ["relative", "/a/../b", ""])
def test_odd_targets(target: str) -> None:
    with pytest.raises(InvalidArgument):
        mounts(ResolvedMount("/x", target))


def test_given_options_are_kept() -> None:
    found = mounts(ResolvedMount("/x", "/y", options=("bind", "rro", "shared")))
    assert next(m for m in found if m["destination"] == "/y")["options"] == [
        "bind",
        "rro",
        "shared",
    ]


def test_propagation_of_the_root() -> None:
    def with_option(*options: str) -> str:
        return rootfs_propagation([ResolvedMount("/x", "/y", options=o and (o,)) for o in options])  # type: ignore[arg-type]

    assert with_option("") == with_option("rprivate") == ""
    assert with_option("rslave") == "rslave"
    assert with_option("rslave", "rshared") == "rshared"


@pytest.mark.parametrize(
    ("source", "option", "fine"),
    [
        ("/data", "rshared", True),
        ("/mnt/x", "rshared", True),  # the topmost of two mounts counts
        ("/srv/x", "rshared", False),
        ("/srv/x", "rslave", True),
        ("/srvx", "rshared", True),
        ("/a b/c", "shared", True),
        ("/srv", "rprivate", True),
    ],
)
def test_sources_must_be_shared(source: str, option: str, fine: bool) -> None:
    mount = ResolvedMount(source, "/t", options=("rbind", option))
    if fine:
        assert settle_propagation([mount], MOUNTINFO) == (mount,)
    else:
        with pytest.raises(FailedPrecondition, match="/srv"):
            settle_propagation([mount], MOUNTINFO)


def test_a_default_propagation_gives_way() -> None:
    """Where the source's mount cannot give it: nobody has asked for it."""
    mount = ResolvedMount("/x", "/t", options=("rbind", "rslave"), propagation_default=True)
    private = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    assert settle_propagation([mount], private)[0].options == ("rbind", "rprivate")
    shared = "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
    assert settle_propagation([mount], shared) == (mount,)
