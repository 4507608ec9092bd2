"""What to think of a host: pure, so that tests can show it hosts that they are not on."""

import re
from collections.abc import Iterator, Set
from typing import Final

from sharedrt.config import Config
from sharedrt.drivers.hostcheck.state import HostState
from sharedrt.drivers.hostinfo import PACKAGES
from sharedrt.model.findings import Finding, Level

_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
_WANTED_CONTROLLERS: Final = ("cpu", "cpuset", "io", "memory", "pids")
_V1_NAMES: Final = {"io": "blkio"}
_MIN_KERNEL: Final = (5, 3)
"""pidfd_open."""
_MIN_FREE_BYTES: Final = 1 << 30
_NO_UPPER: Final = frozenset({"overlay", "nfs", "nfs4", "vfat", "fuseblk"})
"""File systems that cannot hold overlayfs's upper folders."""
_IPTABLES: Final = {"ip filter FORWARD": "iptables", "ip6 filter FORWARD": "ip6tables"}
"""Chains that iptables manages, and may be changed by it alone."""


def judge(state: HostState, config: Config) -> Iterator[Finding]:
    """What to think of what was seen."""
    yield from _privileges(state)
    yield from _kernel(state)
    yield from _tools(state)
    yield from _cgroups(state)
    yield from _networks(state, config)
    yield from _names(state)
    yield from _storage(state, config)


def _privileges(state: HostState) -> Iterator[Finding]:
    if state.euid != 0:
        yield Finding("user", Level.ERROR, "the daemon needs root", "run it as root")
    missing = sorted({"CAP_SYS_ADMIN", "CAP_NET_ADMIN"} - state.capabilities)
    if missing:
        yield Finding(
            "capabilities",
            Level.ERROR,
            f"the bounding set lacks {', '.join(missing)}",
            "start the daemon outside of the container or sandbox that took them away",
        )
    elif "CAP_SYS_RESOURCE" not in state.capabilities:
        yield Finding(
            "capabilities",
            Level.WARNING,
            "CAP_SYS_RESOURCE is missing: hard limits cannot be raised, nor OOM scores lowered; "
            "such requests are clamped",
            "start the daemon where its bounding set has CAP_SYS_RESOURCE",
        )
    else:
        yield Finding("capabilities", Level.OK, "all there")


def _kernel(state: HostState) -> Iterator[Finding]:
    found = re.match(r"(\d+)\.(\d+)", state.kernel)
    if found is None or (int(found[1]), int(found[2])) < _MIN_KERNEL:
        yield Finding(
            "kernel",
            Level.ERROR,
            f"{state.kernel} is older than 5.3 (pidfd)",
            "boot a newer kernel",
        )
    else:
        yield Finding("kernel", Level.OK, state.kernel)
    if "overlay" in state.file_systems:
        yield Finding("overlayfs", Level.OK, "available")
    else:
        yield Finding(
            "overlayfs", Level.ERROR, "the kernel does not offer overlayfs", "modprobe overlay"
        )
    if missing := [name for name in _NAMESPACES if name not in state.namespaces]:
        yield Finding(
            "namespaces",
            Level.ERROR,
            f"the kernel has no {', '.join(missing)} namespaces",
            "boot a kernel that is built with them",
        )
    else:
        yield Finding("namespaces", Level.OK, ", ".join(_NAMESPACES))
    if not state.seccomp:
        yield Finding(
            "seccomp",
            Level.WARNING,
            "the kernel has no seccomp filters: containers run without the default profile",
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        )


def _tools(state: HostState) -> Iterator[Finding]:
    def missing(tool: str, level: Level, effect: str) -> Finding:
        return Finding(
            tool, level, f"not found: {effect}", f"apt-get install {PACKAGES.get(tool, tool)}"
        )

    runtimes = [tool for tool in ("crun", "runc") if state.tools.get(tool)]
    if not runtimes:
        yield missing("crun", Level.ERROR, "no OCI runtime, so nothing can run")
    for tool in ("crun", "runc"):
        if (path := state.tools.get(tool)) and tool == "crun" and _is_bound(state):
            yield Finding(
                tool,
                Level.WARNING,
                f"{path} cannot run containers here, for it lifts its limit of locked memory; runc is used instead",
                "start the daemon with CAP_SYS_RESOURCE, or with ulimit -l unlimited (LimitMEMLOCK=infinity)",
            )
        elif path:
            yield Finding(tool, Level.OK, path)
        elif runtimes:
            yield missing(tool, Level.WARNING, f"only {runtimes[0]} can be used")
    for tool, level, effect in (
        ("conmon", Level.ERROR, "nothing can run"),
        ("nft", Level.ERROR, "no networks and no published ports"),
        ("catatonit", Level.WARNING, "no init in containers, no shared PID namespace in pods"),
    ):
        path = state.tools.get(tool)
        yield Finding(tool, Level.OK, path) if path else missing(tool, level, effect)
    if state.cni_configured and not state.cni_plugins:
        yield Finding(
            "CNI plugins",
            Level.ERROR,
            "there is a CNI configuration, but no plugins in the configured folders",
            "apt-get install containernetworking-plugins",
        )


def _is_bound(state: HostState) -> bool:
    """As :meth:`OciDriver.open` finds it: device rules of v2 are programs, for which crun lifts the limit first."""
    free = "CAP_SYS_RESOURCE" in state.capabilities
    return state.cgroups.version == 2 and state.locked_memory_bound and not free


def _cgroups(state: HostState) -> Iterator[Finding]:
    cgroups = state.cgroups
    if not cgroups.roots():
        yield Finding(
            "cgroups",
            Level.ERROR,
            "no cgroup file system is mounted",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    elif cgroups.version == 2:
        yield from _lacking(cgroups.unified_controllers, "v2")
    elif left := sorted(cgroups.left_over):
        base = next(iter(cgroups.v1.values())).parent
        cures = [f"mkdir -p {base}/{n} && mount -t cgroup -o {n} cgroup {base}/{n}" for n in left]
        yield Finding(
            "cgroups",
            Level.WARNING,
            f"v1, but without a mount of {', '.join(left)}; crun cannot run containers here, "
            "runc is used instead",
            "; ".join(cures) + " (or boot with systemd.unified_cgroup_hierarchy=1)",
        )
    else:
        yield from _lacking(cgroups.v1.keys(), "v1")


def _lacking(controllers: Set[str], version: str) -> Iterator[Finding]:
    names = {_V1_NAMES.get(n, n) if version == "v1" else n: n for n in _WANTED_CONTROLLERS}
    lacking = [name for name in names if name not in controllers]
    if not lacking:
        yield Finding("cgroups", Level.OK, version)
        return
    memory = " (boot with cgroup_enable=memory)" if "memory" in lacking else ""
    yield Finding(
        "cgroups",
        Level.WARNING,
        f"{version} without {', '.join(lacking)}: those limits and figures are missing",
        f"enable the controllers at boot{memory}",
    )


def _networks(state: HostState, config: Config) -> Iterator[Finding]:
    if state.nft_problem:
        yield Finding(
            "nftables", Level.ERROR, state.nft_problem, "modprobe nf_tables; check that nft works"
        )
    elif state.tools.get("nft"):
        yield Finding("nftables", Level.OK, "works")
    if state.ip_forward:
        yield Finding("ip_forward", Level.OK, "on")
    elif state.ip_forward_settable:
        yield Finding("ip_forward", Level.OK, "off; the daemon turns it on with its first bridge")
    else:
        yield Finding(
            "ip_forward",
            Level.WARNING,
            "packets are not forwarded, and the setting is read-only: containers reach the host only",
            "on the host: sysctl -w net.ipv4.ip_forward=1",
        )
    for chain in state.forward_policies:
        yield _forward_policy(chain, state, config)


def _forward_policy(chain: str, state: HostState, config: Config) -> Finding:
    subject = f"chain {chain}"
    if tool := _IPTABLES.get(chain):
        if state.tools.get(tool):
            return Finding(subject, Level.OK, "drops; the daemon adds rules for its own bridges")
        cure = f"apt-get install iptables ({tool} manages this chain)"
    else:
        bridges = (config.network.bridge, config.network.pod_bridge)
        rules = [
            f"nft insert rule {chain} {way} {bridge} accept"
            for bridge in bridges
            for way in ("iifname", "oifname")
        ]
        cure = "; ".join(rules)
    detail = "drops forwarded packets, those of containers too"
    return Finding(subject, Level.WARNING, detail, cure)


def _names(state: HostState) -> Iterator[Finding]:
    reachable = [name for name in state.nameservers if not _is_loopback(name)]
    if reachable:
        yield Finding("resolv.conf", Level.OK, ", ".join(reachable))
    elif state.nameservers and not state.upstream_nameservers:
        yield Finding(
            "resolv.conf",
            Level.WARNING,
            f"names only a local stub ({', '.join(state.nameservers)}), which containers cannot reach, "
            "and systemd-resolved's own list of servers is not there",
            "name a reachable server in /etc/resolv.conf, or give containers --dns",
        )
    elif state.nameservers:
        yield Finding(
            "resolv.conf",
            Level.OK,
            f"a local stub; its servers are {', '.join(state.upstream_nameservers)}",
        )
    else:
        yield Finding(
            "resolv.conf",
            Level.WARNING,
            "names no server: containers resolve no names but each other's",
            "name a reachable server in /etc/resolv.conf",
        )


def _storage(state: HostState, config: Config) -> Iterator[Finding]:
    folder = config.daemon.state_dir
    if state.state_file_system in _NO_UPPER:
        yield Finding(
            "state folder",
            Level.ERROR,
            f"{folder} is on {state.state_file_system}, which cannot hold writable layers",
            "set daemon.state_dir to a folder on ext4, xfs, btrfs or tmpfs",
        )
    elif state.state_free_bytes is not None and state.state_free_bytes < _MIN_FREE_BYTES:
        yield Finding(
            "state folder",
            Level.WARNING,
            f"only {state.state_free_bytes >> 20} MiB are free at {folder}",
            "make room, or set daemon.state_dir to another disk",
        )
    else:
        yield Finding("state folder", Level.OK, f"{folder} on {state.state_file_system}")


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
