"""config.json, as a function of the request and the host. No root needed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedrt.drivers.cgroups import CgroupFeatures
from sharedrt.drivers.oci.capabilities import ALL
from sharedrt.drivers.oci.conmon import Launch, arguments
from sharedrt.drivers.oci.host import HostFacts, kernel_version, read_host
from sharedrt.drivers.oci.notes import Notes
from sharedrt.drivers.oci.seccomp import Machine
from sharedrt.drivers.oci.spec import render_config
from sharedrt.drivers.oci.state import BundleState
from sharedrt.model.drivers import BundleRequest, ResolvedMount
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.spec import (
    BlkioLimit,
    Capabilities,
    ContainerSpec,
    Device,
    DeviceRule,
    IdMapping,
    ImageDefaults,
    Namespaces,
    Resources,
    Rlimit,
    Seccomp,
    SeccompKind,
    Security,
)

V1 = CgroupFeatures(version=1)
V2 = CgroupFeatures(version=2, cpu_realtime=False, swappiness=False, oom_kill_disable=False)
FACTS = HostFacts(V2, frozenset(ALL), Machine("amd64", (6, 1)))


def request(spec: ContainerSpec | None = None, **fields: Any) -> BundleRequest:
    base = BundleRequest(
        key=ContainerKey(Namespace("moby"), ContainerId("c1")),
        handler="",
        rootfs=Path("/rootfs"),
        spec=spec or ContainerSpec(args=("sh",)),
        image=ImageDefaults(),
        hostname="web-1",
        cgroup_parent="/p",
    )
    return replace(base, **fields)


def render(
    spec: ContainerSpec | None = None, *, facts: HostFacts = FACTS, notes: Notes | None = None,
    init: str = "", ids: tuple[int, int, tuple[int, ...]] = (0, 0, (0,)), cgroups_path: str = "/p/c1",
    **fields: Any,
) -> Any:  # fmt: skip
    return render_config(
        request(spec, **fields),
        ids,
        cgroups_path=cgroups_path,
        facts=facts,
        notes=notes or Notes(),
        init=init,
    )


def spec(**fields: Any) -> ContainerSpec:
    return ContainerSpec(**{"args": ("sh",), **fields})


def test_the_usual_container() -> None:
    config = render()
    assert config["ociVersion"] == "1.0.2"
    assert config["root"] == {"path": "/rootfs", "readonly": False}
    assert config["hostname"] == "web-1"
    process = config["process"]
    assert process["args"] == ["sh"]
    assert process["cwd"] == "/"
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert len(process["capabilities"]["bounding"]) == 14
    assert process["oomScoreAdj"] == 0
    assert process["noNewPrivileges"] is False
    assert "apparmorProfile" not in process
    linux = config["linux"]
    assert [n["type"] for n in linux["namespaces"]] == [
        "mount",
        "network",
        "pid",
        "ipc",
        "uts",
        "cgroup",
    ]
    assert linux["cgroupsPath"] == "/p/c1"
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/interrupts"} <= set(
        linux["maskedPaths"]
    )
    assert "/proc/sys" in linux["readonlyPaths"]
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "hooks" not in config


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (None, None, ["entry", "cmd"]),
        (None, ("x",), ["entry", "x"]),
        (("own",), None, ["own"]),
        (("own",), ("x",), ["own", "x"]),
        (None, (), ["entry"]),
        ((), ("x",), ["x"]),
    ],
)
def test_entrypoint_and_command(command: Any, args: Any, expected: list[str]) -> None:
    image = ImageDefaults(entrypoint=("entry",), cmd=("cmd",))
    assert render(spec(command=command, args=args), image=image)["process"]["args"] == expected


def test_nothing_to_run() -> None:
    with pytest.raises(InvalidArgument) as fault:
        render(ContainerSpec())
    assert str(fault.value) == "invalid command '': no command specified"


def test_environment() -> None:
    image = ImageDefaults(env=("A=1", "B=2", "PATH=/x", "GONE=1"))
    env = render(spec(env=("B=3", "GONE", "C=a=b"), tty=True), image=image)["process"]["env"]
    assert sorted(env) == ["A=1", "B=3", "C=a=b", "PATH=/x", "TERM=xterm"]
    assert render(spec(env=("TERM=vt100",), tty=True))["process"]["env"][1] == "TERM=vt100"
    assert render()["process"]["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]


def test_working_directory() -> None:
    image = ImageDefaults(cwd="app")
    assert render(image=image)["process"]["cwd"] == "/app"
    assert render(spec(cwd="/x"), image=image)["process"]["cwd"] == "/x"


def test_init() -> None:
    config = render(spec(init=True), init="/usr/bin/catatonit")
    assert config["process"]["args"] == ["/sbin/docker-init", "--", "sh"]
    mount = config["mounts"][-1]
    assert (mount["destination"], mount["source"]) == ("/sbin/docker-init", "/usr/bin/catatonit")
    assert "ro" in mount["options"]


def test_other_user() -> None:
    security = Security(capabilities=Capabilities(ambient=("NET_RAW",)), no_new_privileges=True)
    process = render(spec(security=security), ids=(7, 8, (8, 9)))["process"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [8, 9]}
    assert process["capabilities"]["effective"] == ["CAP_NET_RAW"]
    assert process["noNewPrivileges"] is True


def test_limits_beyond_ours_are_cut_and_said_once() -> None:
    notes = Notes()
    facts = replace(FACTS, hard_limits={"nofile": 1000, "core": -1}, least_oom_score_adj=0)
    asked = spec(
        rlimits=(Rlimit("nofile", 2000, -1), Rlimit("core", -1, -1), Rlimit("RLIMIT_nproc", 5, 6)),
        oom_score_adj=-500,
    )
    render(asked, facts=facts, notes=notes)
    process = render(asked, facts=facts, notes=notes)["process"]
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1000},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
        {"type": "RLIMIT_NPROC", "soft": 5, "hard": 6},
    ]
    assert process["oomScoreAdj"] == 0
    assert len(notes.said) == 2
    assert render(asked)["process"]["oomScoreAdj"] == -500


@pytest.mark.parametrize(
    "fields",
    [
        {"rlimits": (Rlimit("nofiles", 1, 1),)},
        {"rlimits": (Rlimit("nofile", 2, 1),)},
        {"oom_score_adj": 1001},
        {"security": Security(capabilities=Capabilities(add=("FLY",)))},
        {"devices": (Device("/dev/not-here", "/dev/x"),)},
        {"devices": (Device("/etc/passwd", "/dev/x"),)},
        {"devices": (Device("/dev/null", "/dev/x", "x"),)},
        {"device_rules": (DeviceRule("q", 1, 1, "r"),)},
        {"resources": Resources(blkio_read_bps=(BlkioLimit("/dev/null", 1),))},
        {"security": Security(seccomp=Seccomp(SeccompKind.PROFILE, "nonsense"))},
    ],
)
def test_what_is_wrong_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        render(spec(**fields))


def test_privileged() -> None:
    config = render(spec(security=Security(privileged=True)))
    linux = config["linux"]
    assert config["process"]["capabilities"]["bounding"] == list(ALL)
    assert "seccomp" not in linux
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "/dev/null" in [node["path"] for node in linux["devices"]]
    for target in ("/sys", "/sys/fs/cgroup"):
        assert "rw" in next(m for m in config["mounts"] if m["destination"] == target)["options"]
    asked = Security(
        privileged=True, seccomp=Seccomp(SeccompKind.PROFILE, '{"defaultAction": "SCMP_ACT_LOG"}')
    )
    assert render(spec(security=asked))["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_LOG"


def test_own_paths() -> None:
    linux = render(
        spec(security=Security(masked_paths=(), readonly_paths=("/x",), readonly_rootfs=True))
    )
    assert linux["linux"]["maskedPaths"] == []
    assert linux["linux"]["readonlyPaths"] == ["/x"]
    assert linux["root"]["readonly"] is True


def test_devices(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    asked = spec(
        devices=(
            Device("/dev/null", "/dev/mine", "r"),
            Device(str(tmp_path / "link"), "/dev/z", "rw"),
        ),
        device_rules=(DeviceRule("c", 189, None, "rwm"),),
    )
    linux = render(asked)["linux"]
    assert [(n["path"], n["type"], n["major"], n["minor"]) for n in linux["devices"]] == [
        ("/dev/mine", "c", 1, 3), ("/dev/z", "c", 1, 5),
    ]  # fmt: skip
    assert linux["resources"]["devices"][-3:] == [
        {"allow": True, "type": "c", "access": "r", "major": 1, "minor": 3},
        {"allow": True, "type": "c", "access": "rw", "major": 1, "minor": 5},
        {"allow": True, "type": "c", "access": "rwm", "major": 189},
    ]


def test_namespaces() -> None:
    config = render(
        spec(domainname="example.org"),
        namespace_paths={"network": "/n/net", "ipc": "/n/ipc", "uts": "/n/uts"},
        host_namespaces=frozenset(("pid",)),
    )
    assert config["linux"]["namespaces"] == [
        {"type": "mount"}, {"type": "network", "path": "/n/net"}, {"type": "ipc", "path": "/n/ipc"},
        {"type": "uts", "path": "/n/uts"}, {"type": "cgroup"},
    ]  # fmt: skip
    assert "hostname" not in config  # of a joined namespace it is not ours to set
    assert "sysctl" not in config["linux"]
    assert render(spec(domainname="d"))["linux"]["sysctl"] == {"kernel.domainname": "d"}
    with pytest.raises(InvalidArgument):
        render(namespace_paths={"time": "/x"})


def test_user_namespace() -> None:
    mappings = (IdMapping(0, 100000, 65536),)
    asked = spec(namespaces=Namespaces(uid_mappings=mappings, gid_mappings=mappings))
    config = render(asked, host_namespaces=frozenset(("network", "pid")))
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]
    types = {m["destination"]: m["type"] for m in config["mounts"]}
    assert (types["/proc"], types["/sys"]) == ("bind", "bind")


def test_annotations_that_command_runtimes_are_dropped() -> None:
    asked = spec(
        annotations={"a": "1", "run.oci.hooks.stdout": "/etc/x", "org.systemd.property.User": "'x'"}
    )
    assert render(asked, annotations={"b": "2"})["annotations"] == {"a": "1", "b": "2"}


def test_a_scope_gets_dockers_grace_when_the_host_shuts_down() -> None:
    config = render(spec(annotations={"a": "1"}), cgroups_path="sharedrt-moby.slice:sharedrt:c1")
    property_ = "org.systemd.property.TimeoutStopUSec"
    assert config["annotations"] == {"a": "1", property_: "uint64 10000000"}


def test_labels_only_where_the_host_has_them() -> None:
    security = Security(
        selinux_process_label="p:l", selinux_mount_label="m:l", apparmor_profile="mine"
    )
    config = render(spec(security=security))
    assert "selinuxLabel" not in config["process"]
    facts = replace(FACTS, selinux=True, apparmor=True, apparmor_default="dflt")
    config = render(spec(security=security), facts=facts)
    assert (config["process"]["selinuxLabel"], config["linux"]["mountLabel"]) == ("p:l", "m:l")
    assert config["process"]["apparmorProfile"] == "mine"
    assert render(facts=facts)["process"]["apparmorProfile"] == "dflt"
    for security in (Security(apparmor_profile="unconfined"), Security(privileged=True)):
        assert "apparmorProfile" not in render(spec(security=security), facts=facts)["process"]


def resources(asked: Resources, features: CgroupFeatures = V2, notes: Notes | None = None) -> Any:
    found = render(spec(resources=asked), facts=replace(FACTS, cgroups=features), notes=notes)
    return {k: v for k, v in found["linux"]["resources"].items() if k != "devices"}


def test_resources() -> None:
    asked = Resources(
        memory_bytes=100, memory_swap_bytes=200, memory_reservation_bytes=50, cpu_shares=512,
        cpu_quota_us=1000, cpu_period_us=2000, cpuset_cpus="0", pids_limit=10, hugepage_limits={"2MB": 4096},
        blkio_weight=300,
    )  # fmt: skip
    assert resources(asked, V1) == {
        "memory": {"limit": 100, "swap": 200, "reservation": 50},
        "cpu": {"shares": 512, "quota": 1000, "period": 2000, "cpus": "0"},
        "pids": {"limit": 10},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "blockIO": {"weight": 300},
    }
    assert resources(Resources()) == {}
    assert resources(Resources(cpu_shares=0, cpu_quota_us=0, cpuset_cpus="")) == {}
    # A new cgroup has no limits, and an update lifts them by itself.
    assert resources(Resources(cpu_quota_us=-1, pids_limit=-1, memory_bytes=-1)) == {}
    assert resources(Resources(unified={"memory.high": "1"})) == {"unified": {"memory.high": "1"}}


def test_what_the_kernel_lacks() -> None:
    notes = Notes()
    asked = Resources(
        memory_bytes=1,
        memory_swap_bytes=2,
        memory_swappiness=3,
        oom_kill_disable=True,
        blkio_weight=9,
    )
    poor = replace(V2, swap=False, blkio_weight=False, hugetlb=False)
    assert resources(asked, poor, notes) == {"memory": {"limit": 1}}
    assert len(notes.said) == 4
    assert resources(Resources(hugepage_limits={"2MB": 0, "1GB": 0}), poor) == {}
    for refused, features in (
        (Resources(hugepage_limits={"2MB": 1}), poor),
        (Resources(cpu_realtime_runtime_us=1), V2),
        (Resources(unified={"memory.high": "1"}), V1),
    ):
        with pytest.raises(FailedPrecondition):
            resources(refused, features)


def test_host_facts_of_this_host() -> None:
    facts = read_host(V1)
    assert facts.bounding <= frozenset(ALL)
    assert facts.machine.kernel >= (5, 6)
    assert kernel_version("6.1.0-13-amd64") == (6, 1)
    assert kernel_version("odd") == (0, 0)


def test_log_path_with_a_colon_is_refused() -> None:
    state = BundleState("runc", "/runc", "/root", "/cg", "/rootfs", log_path="/var/log/a:b.log")
    launch = Launch("conmon", "c", Path("/b"), Path("/e"), state, False, "", "sh", 0, 1.0)
    with pytest.raises(InvalidArgument):
        arguments(launch)


def test_mount_is_in_the_config() -> None:
    mount = ResolvedMount("/data", "/srv", options=("ro",))
    assert {
        "destination": "/srv",
        "type": "bind",
        "source": "/data",
        "options": ["rbind", "ro", "rprivate"],
    } in (render(mounts=(mount,))["mounts"])


def test_a_terminal_begins_with_its_size() -> None:
    config = render(spec(tty=True, console_size=(99, 33)))
    assert config["process"]["consoleSize"] == {"width": 99, "height": 33}
    assert "consoleSize" not in render(spec(console_size=(99, 33)))["process"]


def test_cgroups_that_can_be_written_and_no_shared_memory() -> None:
    def mounts(made: ContainerSpec) -> dict[str, list[str]]:
        return {m["destination"]: m["options"] for m in render(made)["mounts"]}

    assert "ro" in mounts(spec())["/sys/fs/cgroup"]
    assert "rw" in mounts(spec(security=Security(writable_cgroups=True)))["/sys/fs/cgroup"]
    assert "/dev/shm" in mounts(spec())
    assert "/dev/shm" not in mounts(spec(shm_none=True))


def test_no_quota_is_none_at_all() -> None:
    assert resources(Resources(cpu_quota_us=-1, cpu_shares=5))["cpu"] == {"shares": 5}
