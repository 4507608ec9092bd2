"""Create requests: every field done, refused by name, or meaningless on Linux."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_abilities import recursive_read_only
from sharedrt.edges.docker.translate_create import (
    CreateContext,
    Translation,
    check_name,
    translate_create,
)
from sharedrt.edges.docker.translate_log import parse_size
from sharedrt.edges.docker.translate_mounts import parse_bind
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import ContainerId, Digest
from sharedrt.model.records import ContainerRecord, DnsConfig, NetworkRequest, PortMapping
from sharedrt.model.spec import (
    ContainerSpec,
    Device,
    DeviceRule,
    HealthCheck,
    Mount,
    MountKind,
    NamespaceMode,
    NamespaceRef,
    Rlimit,
    SeccompKind,
)
from tests.edges.docker.fakes import HOST

ID = ContainerId("a" * 64)
OTHER = ContainerRecord(
    id=ContainerId("b" * 64),
    name="other",
    image_reference="busybox",
    image_id=Digest("sha256:" + "c" * 64),
    spec=ContainerSpec(
        hostname="otherhost",
        mounts=(
            Mount(MountKind.BIND, "/src", "/data", create_source=True),
            Mount(MountKind.TMPFS, "", "/tmp"),
        ),
    ),
    extensions={"docker": {"HostConfig": {"IpcMode": "shareable"}}},
)
IMAGE: dict[str, Any] = {
    "Cmd": ["sh"],
    "Entrypoint": None,
    "Env": ["PATH=/bin", "LANG=C"],
    "Labels": {"from": "image", "both": "image"},
    "ExposedPorts": {"80/tcp": {}},
    "User": "www",
    "WorkingDir": "/srv",
}


def find(reference: str) -> ContainerRecord:
    if reference in ("other", OTHER.id):
        return OTHER
    raise NotFound("container", reference)


def create(
    config: Mapping[str, Any] | None = None,
    host: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] = IMAGE,
    **networking: Any,
) -> Translation:
    body = {"Image": "busybox", **(config or {}), "NetworkingConfig": networking}
    context = CreateContext(HOST, find, lambda: "172.29.0.1")
    return translate_create(ID, "web", Fields(body), dict(host or {}), image, context)


@pytest.mark.parametrize(
    ("driver", "asked", "parent"),
    [
        ("cgroupfs", "", ""),
        ("cgroupfs", "/asked", "/asked"),
        ("cgroupfs", "../../asked", "/asked"),
        ("cgroupfs", "a.slice", "a.slice"),
        ("systemd", "", ""),
        ("systemd", "a-b.slice", "a-b.slice"),
        ("systemd", "/asked", None),
        ("systemd", "../asked", None),
        ("systemd", ".slice", None),
    ],
)
def test_cgroup_parents(driver: str, asked: str, parent: str | None) -> None:
    context = CreateContext(replace(HOST, cgroup_driver=driver), find, lambda: "")
    body, host = Fields({"Image": "busybox"}), {"CgroupParent": asked}
    if parent is None:
        with pytest.raises(Refusal, match="should be a valid slice") as caught:
            translate_create(ID, "web", body, host, IMAGE, context)
        assert caught.value.status == 400
        return
    made = translate_create(ID, "web", body, host, IMAGE, context)
    assert made.request.spec.cgroup_parent == parent


def refused(config: Mapping[str, Any] | None = None, host: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        create(config, host)
    return f"{caught.value.status} {caught.value.message}"


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "image", "argv"),
    [
        (None, None, {"Cmd": ["sh"]}, ["sh"]),
        (None, None, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "c"]),
        (None, ["x"], {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "x"]),
        (["/mine"], None, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/mine"]),
        (["/mine"], ["x"], {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/mine", "x"]),
        ([""], ["x", "y"], {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["x", "y"]),
        ([], None, {"Entrypoint": ["/e"], "Cmd": ["c", "d"]}, ["c", "d"]),
        ("/one", "word", {"Cmd": ["c"]}, ["/one", "word"]),
    ],
)
def test_command(entrypoint: Any, cmd: Any, image: dict[str, Any], argv: list[str]) -> None:
    spec = create({"Entrypoint": entrypoint, "Cmd": cmd}, image=image).request.spec
    assert spec.command
    assert spec.args is not None
    assert [*spec.command, *spec.args] == argv


def test_no_command() -> None:
    with pytest.raises(Refusal, match="no command specified"):
        create(image={})


def test_the_image_fills_what_is_not_said() -> None:
    made = create({"Env": ["LANG=de", "GONE"], "Labels": {"both": "client"}, "Tty": True}).request
    assert made.spec.env == (
        "HOSTNAME=aaaaaaaaaaaa",
        "TERM=xterm",
        "LANG=de",
        "GONE",
        "PATH=/bin",
    )
    assert made.labels == {"from": "image", "both": "client"}
    assert made.spec.user.name == "www"
    assert made.spec.cwd == "/srv"
    assert create(image={"Cmd": ["x"]}).request.spec.env[0].startswith("PATH=/usr/local/sbin:")


def test_defaults() -> None:
    request = create().request
    assert request.networks == (NetworkRequest("bridge"),)
    assert request.keep_log
    assert request.restart_policy == "no"
    spec = request.spec
    assert spec.hostname == "aaaaaaaaaaaa"
    assert spec.shm_size_bytes == 64 << 20
    assert spec.namespaces.cgroup == NamespaceRef()
    assert spec.security.seccomp.kind is SeccompKind.DEFAULT
    assert spec.security.masked_paths is None
    docker = request.extensions["docker"]
    assert isinstance(docker, dict)
    host_config = docker["HostConfig"]
    assert isinstance(host_config, dict)
    assert host_config["Runtime"] == "crun"
    assert host_config["IpcMode"] == "private"


def test_resources() -> None:
    resources = create(
        host={
            "Memory": 64 << 20,
            "MemoryReservation": 32 << 20,
            "NanoCpus": 500_000_000,
            "CpuShares": 512,
            "CpusetCpus": "0",
            "PidsLimit": 20,
            "BlkioWeight": 300,
            "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1000}],
            "MemorySwappiness": -1,
        }
    ).request.spec.resources
    assert resources.memory_bytes == 64 << 20
    assert resources.memory_swap_bytes == 128 << 20
    assert (resources.cpu_quota_us, resources.cpu_period_us) == (50_000, 100_000)
    assert resources.cpu_shares == 512
    assert resources.pids_limit == 20
    assert resources.memory_swappiness is None
    assert resources.blkio_read_bps[0].value == 1000
    assert create(host={"PidsLimit": -1}).request.spec.resources.pids_limit is None
    assert (
        create(host={"Memory": 64 << 20, "MemorySwap": -1}).request.spec.resources.memory_swap_bytes
        == -1
    )


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"Memory": 1000}, "400 Minimum memory limit allowed is 6MB"),
        ({"Memory": 64 << 20, "MemorySwap": 32 << 20}, "400 Minimum memoryswap limit"),
        ({"MemorySwap": 64 << 20}, "400 You should always set the Memory limit"),
        ({"NanoCpus": 9_000_000_000}, "400 range of CPUs is from 0.01 to 4.00"),
        ({"NanoCpus": 10**9, "CpuQuota": 5000}, "400 Conflicting options: Nano CPUs"),
        ({"CpuPeriod": 10}, "400 CPU cfs period"),
        ({"CpuQuota": 10}, "400 CPU cfs quota"),
        ({"BlkioWeight": 5}, "400 Range of blkio weight"),
        ({"MemorySwappiness": 200}, "400 Invalid value: 200"),
        ({"OomScoreAdj": 2000}, "400 Invalid value 2000"),
        ({"ShmSize": -1}, "400 SHM size"),
        ({"Ulimits": [{"Name": "odd", "Soft": 1, "Hard": 1}]}, "400 invalid ulimit type: odd"),
        ({"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 1}]}, "400 ulimit soft limit"),
        ({"CapAdd": ["FLY"]}, "400 invalid CapAdd"),
        ({"SecurityOpt": ["odd"]}, '400 invalid --security-opt 2: "odd"'),
        ({"SecurityOpt": ["seccomp=/path"]}, "400 Decoding seccomp profile failed"),
        ({"Memory": 1 << 63}, "field HostConfig.Memory of type int64"),
        ({"Memory": 1e300}, "field HostConfig.Memory of type int64"),
        ({"PortBindings": {"9" * 5000: []}}, "400 invalid port specification"),
        ({"PortBindings": {"80": [{"HostPort": "9" * 5000}]}}, "400 invalid port specification"),
        ({"DeviceCgroupRules": [f"c {'9' * 5000}:1 r"]}, "400 invalid device cgroup rule format"),
        (
            {"Mounts": [{"Type": "bind", "Source": "/a\0b", "Target": "/a"}]},
            "400 invalid mount path",
        ),
        ({"SecurityOpt": ["seccomp=" + "[" * 99_999]}, "400 Decoding seccomp profile failed"),
        ({"SecurityOpt": ["label=odd"]}, "400 bad label option"),
        ({"PidMode": "odd"}, "400 invalid PID mode: odd"),
        ({"UTSMode": "odd"}, "400 invalid UTS mode"),
        ({"UsernsMode": "private"}, "400 invalid user namespace mode"),
        ({"CgroupnsMode": "odd"}, "400 invalid cgroup namespace mode"),
        ({"Links": [":x"]}, "400 bad format for links: :x"),
        ({"StorageOpt": {"size": "1G"}}, "501 HostConfig.StorageOpt"),
        ({"Cgroup": "container:x"}, "501 HostConfig.Cgroup"),
        ({"Isolation": "hyperv"}, "400 invalid isolation"),
        ({"KernelMemoryTCP": 5}, "501 HostConfig.KernelMemoryTCP"),
        ({"CpuCount": 2}, "501 HostConfig.CpuCount"),
        (
            {"VolumeDriver": "nfs", "Binds": ["named:/x"]},
            '404 error looking up volume plugin nfs: plugin "nfs" not found',
        ),
        (
            {
                "Mounts": [
                    {
                        "Type": "volume",
                        "Target": "/x",
                        "VolumeOptions": {"DriverConfig": {"Name": "odd"}},
                    }
                ]
            },
            '404 error looking up volume plugin odd: plugin "odd" not found',
        ),
        ({"Runtime": "odd"}, "400 unknown or invalid runtime name: odd"),
        ({"LogConfig": {"Type": "odd"}}, "400 logger: no log driver named 'odd' is registered"),
        ({"LogConfig": {"Type": "gelf"}}, "501 the logging driver gelf"),
        ({"LogConfig": {"Config": {"odd": "1"}}}, "400 unknown log opt 'odd' for json-file"),
        ({"LogConfig": {"Config": {"max-size": "x"}}}, "400 invalid size: 'x'"),
        ({"RestartPolicy": {"Name": "odd"}}, "400 invalid restart policy: unknown policy 'odd'"),
        (
            {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}},
            "400 invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
            "400 can't create 'AutoRemove' container with restart policy",
        ),
        ({"Devices": [{"PathOnHost": "/dev/x", "CgroupPermissions": "q"}]}, "400 invalid device"),
        ({"DeviceCgroupRules": ["odd"]}, "400 invalid device cgroup rule format: 'odd'"),
        ({"DeviceRequests": [{"Count": -1}]}, '400 could not select device driver ""'),
        ({"Dns": ["odd"]}, "400 bad DNS server"),
        ({"ExtraHosts": ["odd"]}, '400 bad format for add-host: "odd"'),
        ({"ExtraHosts": ["a:b"]}, '400 invalid IP address in add-host: "b"'),
        ({"PortBindings": {"odd": []}}, '400 invalid port specification: "odd"'),
        ({"PortBindings": {"80/odd": []}}, "400 invalid proto: odd"),
        ({"PortBindings": {"80": [{"HostPort": "2-1"}]}}, "400 invalid range specified for port"),
        ({"PortBindings": {"80": [{"HostPort": "2-x"}]}}, "400 invalid port specification"),
        ({"PortBindings": {"80": [{"HostIp": "odd"}]}}, "400 invalid IP address: odd"),
        ({"Binds": ["/"]}, "400 invalid volume specification: destination can't be '/'"),
        ({"Binds": ["a"]}, "400 invalid mount path: 'a' mount path must be absolute"),
        ({"Binds": ["/a:/b:ro:z"]}, "400 invalid volume specification: '/a:/b:ro:z'"),
        (
            {"Mounts": [{"Type": "volume", "Target": "/a", "ReadOnly": True}]},
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            {"Mounts": [{"Type": "volume", "Target": "/a", "VolumeOptions": {"Subpath": "b"}}]},
            "must not set Subpath when using anonymous volumes",
        ),
        ({"Mounts": [{"Type": "image", "Target": "/a"}]}, "field Source must not be empty"),
        ({"Binds": ["/a:b"]}, "400 invalid mount path: 'b' mount path must be absolute"),
        ({"Binds": ["/a:/b:odd"]}, "400 invalid mode: odd"),
        ({"Binds": ["/a:/b:ro,rw"]}, "400 invalid mode: ro,rw"),
        ({"Binds": ["/a:/"]}, "400 invalid volume specification: destination can't be '/'"),
        ({"Binds": ["/a:/b", "/c:/b/"]}, "400 Duplicate mount point: /b"),
        ({"VolumesFrom": ["other:odd"]}, "400 invalid volumes-from specification"),
        ({"Mounts": [{"Type": "odd", "Target": "/x"}]}, '400 invalid mount config for type "odd"'),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/x", "Source": "y"}]}, "field Source must not"),
        (
            {"Mounts": [{"Type": "tmpfs", "Target": "/x", "BindOptions": {"Propagation": "x"}}]},
            "field BindOptions must not be specified",
        ),
        ({"Mounts": [{"Type": "cluster", "Target": "/x"}]}, "501 a mount of type cluster"),
        ({"Sysctls": {"net.x": "1"}, "NetworkMode": "host"}, "sysctl 'net.x' not allowed"),
        ({"NetworkMode": "container:other", "Dns": ["1.1.1.1"]}, "400 conflicting options: dns"),
        ({"NetworkMode": "container:"}, "400 invalid container format"),
    ],
)
def test_refused_by_name(host: dict[str, Any], words: str) -> None:
    assert words in refused(host=host)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Healthcheck": {"Test": ["RUN"]}}, "400 Unknown healthcheck type 'RUN'"),
        ({"WorkingDir": "relative"}, "400 the working directory 'relative' is invalid"),
        ({"Env": ["=x"]}, "400 invalid environment variable: =x"),
        ({"MacAddress": "odd"}, "400 invalid MAC address: odd"),
    ],
)
def test_config_refused_by_name(config: dict[str, Any], words: str) -> None:
    assert words in refused(config)


def test_an_image_s_health_check_is_the_container_s() -> None:
    image = {"Cmd": ["x"], "Healthcheck": {"Test": ["CMD", "x"]}}
    assert create(image=image).request.spec.health_check == HealthCheck(("x",))
    off = {"Healthcheck": {"Test": ["NONE"]}}
    assert create(off, image=image).request.spec.health_check is None


def test_security() -> None:
    spec = create(
        host={
            "CapAdd": ["net_admin", "CAP_SYS_TIME"],
            "CapDrop": ["all"],
            "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "apparmor=profile"],
            "MaskedPaths": [],
            "ReadonlyRootfs": True,
        }
    ).request.spec.security
    assert spec.capabilities.add == ("CAP_NET_ADMIN", "CAP_SYS_TIME")
    assert spec.capabilities.drop == ("ALL",)
    assert spec.no_new_privileges
    assert spec.seccomp.kind is SeccompKind.UNCONFINED
    assert spec.apparmor_profile == "profile"
    assert spec.masked_paths == ()
    assert spec.readonly_rootfs
    profile = create(host={"SecurityOpt": ['seccomp={"defaultAction":"x:y"}']}).request.spec
    assert profile.security.seccomp.profile_json == '{"defaultAction":"x:y"}'
    privileged = create(host={"Privileged": True}).request.spec.security
    assert privileged.privileged
    assert privileged.seccomp.kind is SeccompKind.UNCONFINED
    assert privileged.masked_paths == ()


def test_namespaces_shared_with_another_container() -> None:
    request = create(
        host={
            "NetworkMode": "container:other",
            "PidMode": "container:other",
            "IpcMode": "container:other",
        }
    ).request
    joined = NamespaceRef(NamespaceMode.CONTAINER, OTHER.id)
    namespaces = request.spec.namespaces
    assert (namespaces.network, namespaces.pid, namespaces.ipc) == (joined, joined, joined)
    assert request.networks == ()
    assert request.spec.hostname == "otherhost"
    with pytest.raises(NotFound):
        create(host={"PidMode": "container:nope"})


def test_host_modes() -> None:
    made = create(
        host={
            "NetworkMode": "host",
            "PidMode": "host",
            "UTSMode": "host",
            "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
        }
    )
    assert made.request.spec.namespaces.network.mode is NamespaceMode.HOST
    assert made.request.ports == ()
    assert made.warnings == ("Published ports are discarded when using host network mode",)
    assert create(host={"NetworkMode": "none"}).request.networks == ()


def test_ports() -> None:
    ports = create(
        {"ExposedPorts": {"53/udp": {}, "443": {}}},
        {
            "PublishAllPorts": True,
            "PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1"}],
                "443/tcp": None,
                "8080/sctp": [{"HostPort": "9000-9010"}],
            },
        },
    ).request.ports
    assert set(ports) == {
        PortMapping("sctp", 8080, 9000, "", 9010),
        PortMapping("tcp", 80, 8080, "127.0.0.1"),
        PortMapping("tcp", 80, 0, "::1"),
        PortMapping("tcp", 443, 0),
        PortMapping("udp", 53, 0),
    }


def test_a_network_by_its_name_and_by_its_id() -> None:
    """As watchtower sends them."""
    context = CreateContext(
        HOST, find, lambda: "", network_id=lambda ref: "4" * 64 if ref == "front" else ref
    )
    endpoint = {"IPAMConfig": {"IPv4Address": "10.0.0.9", "LinkLocalIPs": ["169.254.1.1"]}}
    body = {
        "Image": "busybox",
        "MacAddress": "02:00:00:00:00:01",
        "NetworkingConfig": {"EndpointsConfig": {"front": endpoint}},
    }
    made = translate_create(
        ID, "web", Fields(body), {"NetworkMode": "4" * 64}, IMAGE, context
    ).request
    assert made.networks == (
        NetworkRequest(
            "4" * 64, address="10.0.0.9", mac="02:00:00:00:00:01", link_local=("169.254.1.1",)
        ),
    )


def test_networks() -> None:
    request = create(
        {"MacAddress": "02-42-AC-11-00-02"},
        {"NetworkMode": "front"},
        EndpointsConfig={
            "back": {"Aliases": ["db"]},
            "front": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["www"]},
        },
    ).request
    assert request.networks == (
        NetworkRequest("front", aliases=("www",), address="10.0.0.5", mac="02:42:ac:11:00:02"),
        NetworkRequest("back", aliases=("db",)),
    )


def test_names_and_hosts() -> None:
    request = create(
        host={
            "Dns": ["10.1.2.3"],
            "DnsSearch": ["ex.test"],
            "DnsOptions": ["ndots:3"],
            "ExtraHosts": ["foo:10.0.0.1", "six:::1", "gw:host-gateway"],
        }
    ).request
    assert request.dns == DnsConfig(("10.1.2.3",), ("ex.test",), ("ndots:3",))
    assert request.extra_hosts == ("foo:10.0.0.1", "six:::1", "gw:172.29.0.1")


def test_mounts() -> None:
    mounts = create(
        {"Volumes": {"/anon/": {}}},
        {
            "Binds": ["/src:/dst:ro,rslave,z", "/c:/anon", "/alone/"],
            "Tmpfs": {"/scratch": "size=1m,ro"},
            "VolumesFrom": ["other:ro"],
            "Mounts": [
                {"Type": "bind", "Source": "/m", "Target": "/t", "ReadOnly": True},
                {
                    "Type": "tmpfs",
                    "Target": "/u",
                    "TmpfsOptions": {"SizeBytes": 2 << 20, "Mode": 0o1777},
                },
            ],
        },
    ).request.spec.mounts
    by_target = {mount.target: mount for mount in mounts}
    assert by_target["/dst"] == Mount(
        MountKind.BIND,
        "/src",
        "/dst",
        readonly=True,
        recursive_readonly=recursive_read_only(),
        propagation="rslave",
        create_source=True,
        selinux_relabel="shared",
    )
    assert by_target["/alone"] == Mount(MountKind.VOLUME, "", "/alone"), "as docker-py sends it"
    assert by_target["/data"].readonly
    assert "/tmp" not in by_target
    assert by_target["/scratch"].options == ("size=1m",)
    assert by_target["/scratch"].readonly
    assert by_target["/u"].options == ("size=2097152", "mode=1777")
    assert not by_target["/t"].create_source


@pytest.mark.parametrize(
    ("options", "recursive"),
    [({}, True), ({"ReadOnlyNonRecursive": True}, False), ({"ReadOnlyForceRecursive": True}, True)],
)
def test_read_only_binds(options: dict[str, Any], recursive: bool) -> None:
    bind = {
        "Type": "bind",
        "Source": "/m",
        "Target": "/t",
        "ReadOnly": True,
        "BindOptions": options,
    }
    (mount, *_) = create(host={"Mounts": [bind]}).request.spec.mounts
    assert mount.readonly
    assert mount.recursive_readonly is (recursive and recursive_read_only())


def test_volumes() -> None:
    mounts = create(
        {"Volumes": {"/own": {}}},
        {
            "Binds": ["named:/data:nocopy", "/host:/image-volume"],
            "Mounts": [{"Type": "image", "Source": "busybox", "Target": "/img"}],
        },
        {"Cmd": ["x"], "Volumes": {"/image-volume": {}, "/second": {}}},
    ).request.spec.mounts
    by_target = {mount.target: mount for mount in mounts}
    assert by_target["/data"] == Mount(MountKind.VOLUME, "named", "/data", nocopy=True)
    assert by_target["/own"] == Mount(MountKind.VOLUME, "", "/own")
    assert by_target["/second"] == Mount(MountKind.VOLUME, "", "/second")
    assert by_target["/image-volume"].kind is MountKind.BIND
    assert by_target["/img"].kind is MountKind.IMAGE


def test_the_rest() -> None:
    request = create(
        {"StopSignal": "USR2", "OpenStdin": True, "StdinOnce": True, "Hostname": "h.example"},
        {
            "Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/z"}],
            "DeviceCgroupRules": ["c 1:* rm"],
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["v/c=d"]}],
            "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": -1}],
            "Sysctls": {"net.core.somaxconn": "1"},
            "GroupAdd": ["999", "audio"],
            "Init": True,
            "OomScoreAdj": 500,
            "ShmSize": 32 << 20,
            "Annotations": {"a": "b"},
            "LogConfig": {"Type": "local", "Config": {"max-size": "10k", "max-file": "2"}},
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "Runtime": "io.containerd.runc.v2",
        },
    ).request
    spec = request.spec
    assert spec.devices == (Device("/dev/zero", "/dev/z"),)
    assert spec.device_rules == (DeviceRule("c", 1, None, "rm"),)
    assert spec.cdi_devices == ("v/c=d",)
    assert spec.rlimits == (Rlimit("nofile", 10, -1),)
    assert spec.user.additional_gids == (999,)
    assert spec.user.additional_groups == ("audio",)
    assert spec.init
    assert spec.oom_score_adj == 500
    assert spec.stop_signal == "USR2"
    assert spec.hostname == "h.example"
    assert request.log_max_bytes == 10_000
    assert (request.restart_policy, request.restart_max_retries) == ("on-failure", 3)
    assert request.runtime_handler == "runc"


@pytest.mark.parametrize("name", ["a", "-a", "a b", "", "ä", "/", "a/b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Refusal):
        check_name(name)


def test_good_names() -> None:
    assert check_name("/web-1_x.y") == "web-1_x.y"


def test_sizes() -> None:
    assert [parse_size(t) for t in ("", "-1", "10k", "1.5m", "2GB", "7")] == [
        0,
        0,
        10_000,
        1_500_000,
        2_000_000_000,
        7,
    ]


@given(st.text(max_size=30))
def test_binds_never_fail_otherwise(text: str) -> None:
    with suppress(Refusal):
        parse_bind(text)


def test_what_dockerd_warns_of() -> None:
    made = create(host={"OomKillDisable": True, "BlkioWeight": 300})
    assert any("OomKillDisable discarded" in text for text in made.warnings)
    assert any("Block I/O weight" in text for text in made.warnings)
    assert made.request.spec.resources.blkio_weight is None
    shown = made.request.extensions["docker"]["HostConfig"]  # type: ignore[index,call-overload]
    assert (shown["OomKillDisable"], shown["BlkioWeight"]) == (None, 0)  # type: ignore[index,call-overload]


def test_shared_memory_goes_with_the_ipc_mode() -> None:
    assert create(host={"IpcMode": "shareable"}).request.spec.shm_shared
    spec = create(host={"IpcMode": "none"}).request.spec
    assert (spec.shm_none, spec.shm_shared) == (True, False)


def test_figures_that_mean_nothing_are_shown_as_none() -> None:
    host = {"PidsLimit": 0, "MemorySwappiness": -1}
    shown = create(host=host).request.extensions["docker"]["HostConfig"]  # type: ignore[index,call-overload]
    assert (shown["PidsLimit"], shown["MemorySwappiness"]) == (None, None)  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"Links": ["nope:x"]}, "400 could not get container for nope"),
        ({"Tmpfs": {"/x": "odd"}}, '400 invalid tmpfs option ["odd"]'),
        ({"Tmpfs": {"/x": "size"}}, '400 invalid tmpfs option ["size"]'),
        (
            {"DeviceRequests": [{"Driver": "", "Capabilities": [["gpu", "x"]]}]},
            '400 could not select device driver "" with capabilities: [[gpu x]]',
        ),
    ],
)
def test_more_that_is_refused_by_name(host: dict[str, Any], words: str) -> None:
    assert words in refused(host=host)


def test_the_terminal_s_size_and_the_working_directory() -> None:
    spec = create({"Tty": True, "WorkingDir": "/tmp//x/"}, {"ConsoleSize": [33, 99]}).request.spec
    assert (spec.console_size, spec.cwd) == ((99, 33), "/tmp/x")
    assert create(host={"ConsoleSize": [0, 0]}).request.spec.console_size is None


def test_sysctls_of_a_network_namespace_of_its_own() -> None:
    context = CreateContext(
        HOST, find, lambda: "", sysctls=frozenset({"net.ipv4.ping_group_range"})
    )

    def sysctls(**host: Any) -> dict[str, str]:
        body = Fields({"Image": "busybox"})
        made = translate_create(ID, "web", body, host, IMAGE, context)
        return dict(made.request.spec.sysctls)

    assert sysctls() == {"net.ipv4.ping_group_range": "0 2147483647"}
    own = {"net.ipv4.ping_group_range": "1 0"}
    assert sysctls(Sysctls=own) == own
    assert sysctls(NetworkMode="host") == sysctls(NetworkMode="container:other") == {}


@pytest.mark.parametrize(
    ("source", "asked", "got"),
    [
        ("/srv", "", ""),
        ("/srv", "private", "private"),
        ("/var/lib/sharedrt", "", "rslave"),
        ("/var/lib/sharedrt/containers", "", "rslave"),
        ("/var/lib/sharedrt2", "", ""),
        ("/var", "", "rslave"),
        ("/", "", "rslave"),
        ("/var/lib", "rslave", "rslave"),
        ("/var/lib", "rshared", "rshared"),
        ("/var/lib/sharedrt", "private", None),
        ("/var/lib/sharedrt", "slave", None),
        ("/", "shared", None),
    ],
)
def test_a_bind_in_sight_of_the_daemons_folder_is_a_slave(
    source: str, asked: str, got: str | None
) -> None:
    """A private copy of the mounts in there would keep them busy."""
    options = {"BindOptions": {"Propagation": asked}} if asked else {}
    by_mount = {"Mounts": [{"Type": "bind", "Source": source, "Target": "/t", **options}]}
    by_bind = {"Binds": [f"{source}:/t:{asked}" if asked else f"{source}:/t"]}
    for host in (by_mount, by_bind):
        if got is None:
            assert "400 invalid mount config: must use either propagation" in refused(host=host)
            continue
        (mount, *_) = create(host=host).request.spec.mounts
        assert mount.propagation == got
        assert mount.propagation_default is (not asked and got == "rslave")


def test_old_clients_read_only_binds_are_not_recursive() -> None:
    context = CreateContext(HOST, find, lambda: "", recursive_readonly=False)
    host: dict[str, Any] = {"Binds": ["/srv:/a:ro"]}
    body = Fields({"Image": "busybox"})
    made = translate_create(ID, "web", body, host, IMAGE, context)
    (mount, *_) = made.request.spec.mounts
    assert (mount.readonly, mount.recursive_readonly) == (True, False)


def test_annotations_have_names() -> None:
    assert "400 invalid Annotations: the empty string is not permitted" in refused(
        host={"Annotations": {"": "a"}}
    )


def test_writable_cgroups() -> None:
    def writable(option: str) -> bool | None:
        return create(host={"SecurityOpt": [option]}).request.spec.security.writable_cgroups

    assert writable("writable-cgroups")
    assert writable("writable-cgroups=true")
    assert writable("writable-cgroups=false") is False
    assert "400 invalid --security-opt 2" in refused(
        host={"SecurityOpt": ["writable-cgroups=potato"]}
    )


def test_links_are_kept_by_id_on_the_default_bridge() -> None:
    made = create(host={"Links": ["other:/db"]}).request
    assert made.networks[0].links == (f"{OTHER.id}:db",)
    assert create(host={"Links": ["other:db"], "NetworkMode": "n"}).request.networks[0].links == (
        "other:db",
    )


def test_an_annotation_has_a_name() -> None:
    assert "400 invalid Annotations: the empty string" in refused(host={"Annotations": {"": "a"}})
