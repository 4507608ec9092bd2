"""PodSandboxConfig on the way in."""

from typing import Any

import pytest

from sharedrt.edges.cri.extension import config_of
from sharedrt.edges.cri.translate_sandbox import new_sandbox
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.records import DnsConfig, PortMapping
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.pb.runtime.v1 import NamespaceMode as Mode
from sharedrt.services.contracts import NewSandbox
from tests.edges.cri.builders import HOST


def config(
    options: pb.NamespaceOption | None = None, linux: dict[str, Any] | None = None, **fields: Any
) -> pb.PodSandboxConfig:
    context = pb.LinuxSandboxSecurityContext(namespace_options=options or pb.NamespaceOption())
    whole = pb.PodSandboxConfig(
        **{
            "metadata": pb.PodSandboxMetadata(name="web", uid="u1", namespace="shop", attempt=2),
            "linux": pb.LinuxPodSandboxConfig(security_context=context, **(linux or {})),
            **fields,
        }
    )
    return pb.PodSandboxConfig.FromString(bytes(whole))


async def translate(config: pb.PodSandboxConfig, handler: str = "") -> NewSandbox:
    request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
    return await new_sandbox(request, HOST)


async def test_identity_and_plain_fields() -> None:
    asked = config(
        hostname="h",
        log_directory="/var/log/pods/x",
        labels={"a": "1"},
        annotations={"b": "2"},
        dns_config=pb.DnsConfig(servers=["1.1.1.1"], searches=["s"], options=["o"]),
        linux={
            "cgroup_parent": "/kubepods/pod1",
            "sysctls": {"net.core.somaxconn": "1"},
            "resources": pb.LinuxContainerResources(memory_limit_in_bytes=7),
            "overhead": pb.LinuxContainerResources(cpu_shares=9),
        },
    )
    new = await translate(asked, "runc")
    assert (new.name, new.uid, new.pod_namespace, new.attempt) == ("web", "u1", "shop", 2)
    assert new.runtime_handler == "runc"
    assert (new.labels, new.annotations) == ({"a": "1"}, {"b": "2"})
    spec = new.spec
    assert spec.dns == DnsConfig(("1.1.1.1",), ("s",), ("o",))
    assert (spec.hostname, spec.cgroup_parent) == ("h", "/kubepods/pod1")
    assert spec.sysctls == {"net.core.somaxconn": "1"}
    assert (spec.resources.memory_bytes, spec.overhead.cpu_shares) == (7, 9)
    assert config_of(pb.PodSandboxConfig, new.extensions) == asked


async def test_pid_modes() -> None:
    assert (await translate(config())).spec.share_pid, "the CRI's default is POD"
    private = (await translate(config(pb.NamespaceOption(pid=Mode.CONTAINER)))).spec
    assert not private.share_pid
    assert not private.host_pid
    assert (await translate(config(pb.NamespaceOption(pid=Mode.NODE)))).spec.host_pid


async def test_host_network_has_the_hosts_name_and_no_published_ports() -> None:
    ports = [pb.PortMapping(container_port=80, host_port=8080)]
    on_host = await translate(config(pb.NamespaceOption(network=Mode.NODE), port_mappings=ports))
    assert (on_host.spec.hostname, on_host.spec.port_mappings) == ("node1", ())


async def test_only_ports_with_a_host_port_are_published() -> None:
    new = await translate(
        config(
            port_mappings=[
                pb.PortMapping(container_port=80),
                pb.PortMapping(
                    protocol=pb.Protocol.UDP, container_port=53, host_port=5353, host_ip="10.0.0.1"
                ),
            ]
        )
    )
    assert new.spec.port_mappings == (PortMapping("udp", 53, 5353, "10.0.0.1"),)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metadata": pb.PodSandboxMetadata()}, "metadata.name"),
        ({"log_directory": "relative"}, "log_directory"),
        ({"hostname": "h" * 65}, "hostname"),
        ({"hostname": "a\n127.0.0.1 b"}, "hostname"),
        ({"port_mappings": [pb.PortMapping(container_port=1, host_port=70000)]}, "port_mappings"),
        ({"port_mappings": [pb.PortMapping(protocol=9, host_port=1)]}, "protocol"),  # type: ignore[arg-type]
        ({"options": pb.NamespaceOption(network=Mode.CONTAINER)}, "network"),
    ],
)
async def test_nonsense_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        await translate(config(**fields))


async def test_windows_is_refused_by_name() -> None:
    with pytest.raises(Unimplemented, match="Windows"):
        await translate(config(windows=present(pb.WindowsPodSandboxConfig())))


async def test_group_of_the_sandbox_needs_a_user() -> None:
    context = pb.LinuxSandboxSecurityContext(run_as_group=pb.Int64Value(value=5))
    asked = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name="x"),
        linux=pb.LinuxPodSandboxConfig(security_context=context),
    )
    with pytest.raises(InvalidArgument, match="run_as_group"):
        await translate(pb.PodSandboxConfig.FromString(bytes(asked)))
