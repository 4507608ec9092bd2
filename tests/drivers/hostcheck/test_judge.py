"""Hosts that this machine is not, judged; and this one read without an error."""

from dataclasses import replace
from pathlib import Path

import pytest

from sharedrt.config import Config, DaemonConfig
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.hostcheck import check_host
from sharedrt.drivers.hostcheck.judge import judge
from sharedrt.drivers.hostcheck.state import HostState, dropping_chains
from sharedrt.model.findings import Finding, Level

V2 = Path("/sys/fs/cgroup")
GOOD = HostState(
    tools={tool: f"/usr/bin/{tool}" for tool in ("crun", "runc", "conmon", "nft", "catatonit")},
    file_systems=frozenset({"overlay", "ext4"}),
    namespaces=frozenset({"cgroup", "ipc", "mnt", "net", "pid", "uts"}),
    cgroups=Hierarchies(
        V2, unified_controllers=frozenset({"cpuset", "cpu", "io", "memory", "pids"})
    ),
    nameservers=("192.0.2.1",),
    state_file_system="ext4",
    state_free_bytes=100 << 30,
)
V1 = {
    name: V2 / name for name in ("cpu", "cpuset", "blkio", "memory", "pids", "devices", "freezer")
}
BASIC_CAPABILITIES = frozenset({"CAP_NET_ADMIN", "CAP_SYS_ADMIN"})


def problems(**changes: object) -> list[Finding]:
    state = replace(GOOD, **changes)  # type: ignore[arg-type]
    return [f for f in judge(state, Config()) if f.level is not Level.OK]


def test_a_good_host_has_no_problems() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "subject", "level", "words"),
    [
        ({"euid": 1000}, "user", Level.ERROR, "root"),
        ({"kernel": "4.19.0-amd64"}, "kernel", Level.ERROR, "newer kernel"),
        ({"kernel": "strange"}, "kernel", Level.ERROR, "newer kernel"),
        ({"file_systems": frozenset({"ext4"})}, "overlayfs", Level.ERROR, "modprobe overlay"),
        ({"namespaces": frozenset({"mnt"})}, "namespaces", Level.ERROR, "kernel"),
        ({"capabilities": frozenset({"CAP_NET_ADMIN"})}, "capabilities", Level.ERROR, "outside"),
        ({"capabilities": BASIC_CAPABILITIES}, "capabilities", Level.WARNING, "CAP_SYS_RESOURCE"),
        ({"cgroups": Hierarchies()}, "cgroups", Level.ERROR, "mount -t cgroup2"),
        (
            {"cgroups": Hierarchies(V2, unified_controllers=frozenset({"cpu"}))},
            "cgroups",
            Level.WARNING,
            "cgroup_enable=memory",
        ),
        ({"cni_configured": True, "cni_plugins": False}, "CNI plugins", Level.ERROR, "networking"),
        ({"nft_problem": "nft fails: x"}, "nftables", Level.ERROR, "modprobe"),
        (
            {"ip_forward": False, "ip_forward_settable": False},
            "ip_forward",
            Level.WARNING,
            "sysctl",
        ),
        ({"nameservers": ("127.0.0.53",)}, "resolv.conf", Level.WARNING, "/etc/resolv.conf"),
        ({"nameservers": ()}, "resolv.conf", Level.WARNING, "/etc/resolv.conf"),
        ({"state_file_system": "overlay"}, "state folder", Level.ERROR, "state_dir"),
        ({"state_free_bytes": 1 << 20}, "state folder", Level.WARNING, "room"),
        ({"seccomp": False}, "seccomp", Level.WARNING, "CONFIG_SECCOMP_FILTER"),
    ],
)
def test_each_problem_has_a_cure(
    changes: dict[str, object], subject: str, level: Level, words: str
) -> None:
    found = problems(**changes)
    assert [(f.subject, f.level) for f in found] == [(subject, level)]
    assert words in found[0].cure


@pytest.mark.parametrize(
    ("missing", "package", "level"),
    [
        ("crun", "crun", Level.WARNING),
        ("runc", "runc", Level.WARNING),
        ("conmon", "conmon", Level.ERROR),
        ("catatonit", "catatonit", Level.WARNING),
        ("nft", "nftables", Level.ERROR),
    ],
)
def test_a_missing_binary_is_named_with_its_package(
    missing: str, package: str, level: Level
) -> None:
    [finding] = problems(tools={**GOOD.tools, missing: ""})
    assert (finding.subject, finding.level) == (missing, level)
    assert finding.cure == f"apt-get install {package}"


def test_no_runtime_at_all() -> None:
    [finding] = problems(tools={**GOOD.tools, "crun": "", "runc": ""})
    assert finding.level is Level.ERROR
    assert "nothing can run" in finding.detail


def test_crun_where_locked_memory_is_bound() -> None:
    """On v2 alone, and without the capability that lifts the limit."""
    bound = {"locked_memory_bound": True, "capabilities": BASIC_CAPABILITIES}
    capabilities, crun = problems(**bound)
    assert (capabilities.subject, crun.subject, crun.level) == (
        "capabilities",
        "crun",
        Level.WARNING,
    )
    assert "runc is used instead" in crun.detail
    assert "LimitMEMLOCK=infinity" in crun.cure
    assert problems(locked_memory_bound=True) == []
    [other] = problems(**bound, cgroups=Hierarchies(V2 / "unified", V1))
    assert other.subject == "capabilities"


def test_hybrid_cgroups_name_the_mounts_that_cure_them() -> None:
    [finding] = problems(
        cgroups=Hierarchies(V2 / "unified", V1, frozenset({"hugetlb", "io"})),
    )
    assert "runc is used instead" in finding.detail
    assert "mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb" in finding.cure
    assert "mount -t cgroup -o blkio cgroup /sys/fs/cgroup/blkio" in finding.cure


def test_an_unmounted_hierarchy_names_its_mount() -> None:
    [finding] = problems(cgroups=Hierarchies(V2 / "unified", V1, unmounted=frozenset({"hugetlb"})))
    assert "runc is used instead" in finding.detail
    assert "mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb" in finding.cure


def test_v1_alone_is_fine() -> None:
    assert problems(cgroups=Hierarchies(V2 / "unified", V1)) == []


def test_a_stub_with_known_servers_is_fine() -> None:
    assert problems(nameservers=("127.0.0.53",), upstream_nameservers=("192.0.2.1",)) == []


LISTING = """table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
}
table inet sharedrt {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table inet fw {
	chain fwd {
		type filter hook forward priority filter; policy drop;
	}
	chain other {
		type filter hook forward priority filter; policy accept;
	}
}
"""


def test_firewalls() -> None:
    chains = tuple(dropping_chains(LISTING, "sharedrt"))
    assert chains == ("ip filter FORWARD", "inet fw fwd")
    cures = {f.subject: f.cure for f in problems(forward_policies=chains)}
    assert set(cures) == {"chain ip filter FORWARD", "chain inet fw fwd"}
    assert "apt-get install iptables" in cures["chain ip filter FORWARD"]
    assert "nft insert rule inet fw fwd iifname sharedrt0 accept" in cures["chain inet fw fwd"]
    tools = {**GOOD.tools, "iptables": "/sbin/iptables"}
    assert problems(forward_policies=chains[:1], tools=tools) == []


def test_this_host_can_be_read(tmp_path: Path) -> None:
    config = Config(daemon=DaemonConfig(state_dir=tmp_path / "not" / "there"))
    findings = check_host(config)
    assert {"kernel", "state folder", "cgroups"} <= {f.subject for f in findings}
    assert [f.level for f in findings] == sorted(
        (f.level for f in findings), key=list(reversed(Level)).index
    )
