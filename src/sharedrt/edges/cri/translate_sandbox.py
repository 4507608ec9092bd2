"""PodSandboxConfig on the way in."""

from typing import Final

from sharedrt.edges.cri.extension import extension_of
from sharedrt.edges.cri.host import HostAbilities
from sharedrt.edges.cri.names import checked_sandbox_metadata
from sharedrt.edges.cri.translate_namespaces import check_sandbox_options, user_ranges
from sharedrt.edges.cri.translate_resources import resources_of
from sharedrt.edges.cri.translate_security import check_sandbox_user, sandbox_security
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.records import DnsConfig, PortMapping, SandboxSpec
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.contracts import NewSandbox

_PROTOCOLS: Final = {
    pb.Protocol.TCP: "tcp",
    pb.Protocol.UDP: "udp",
    pb.Protocol.SCTP: "sctp",
}
_PORTS: Final = range(65536)
_HOSTNAME_MAX: Final = 64
"""__NEW_UTS_LEN of Linux."""


async def new_sandbox(request: pb.RunPodSandboxRequest, host: HostAbilities) -> NewSandbox:
    """Raises InvalidArgument, FailedPrecondition, Unimplemented; each names its field."""
    config = request.config
    metadata = checked_sandbox_metadata(config.metadata)
    if is_present(config.windows):
        raise Unimplemented("a Windows pod")
    return NewSandbox(
        name=metadata.name,
        uid=metadata.uid,
        pod_namespace=metadata.namespace,
        attempt=metadata.attempt,
        spec=await _spec(config, host),
        runtime_handler=request.runtime_handler,
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        extensions=extension_of(config),
    )


async def _spec(config: pb.PodSandboxConfig, host: HostAbilities) -> SandboxSpec:
    linux = config.linux
    context = linux.security_context
    options = context.namespace_options
    check_sandbox_options(options)
    check_sandbox_user(context)
    uids, gids = user_ranges(options, host)
    on_host_network = options.network == pb.NamespaceMode.NODE
    return SandboxSpec(
        hostname=_hostname(config.hostname) or (host.hostname if on_host_network else ""),
        host_network=on_host_network,
        host_pid=options.pid == pb.NamespaceMode.NODE,
        host_ipc=options.ipc == pb.NamespaceMode.NODE,
        share_pid=options.pid == pb.NamespaceMode.POD,
        dns=DnsConfig(
            servers=tuple(config.dns_config.servers),
            searches=tuple(config.dns_config.searches),
            options=tuple(config.dns_config.options),
        ),
        port_mappings=() if on_host_network else _ports(config),
        cgroup_parent=linux.cgroup_parent,
        sysctls=dict(linux.sysctls),
        log_directory=_log_directory(config.log_directory),
        overhead=resources_of(linux.overhead),
        resources=resources_of(linux.resources),
        security=await sandbox_security(context, host),
        user_mappings=uids,
        group_mappings=gids,
    )


def _hostname(name: str) -> str:
    """It goes into the kernel's own field, and into files line by line."""
    if len(name.encode()) > _HOSTNAME_MAX or not name.isprintable() or " " in name:
        raise InvalidArgument("hostname", name, f"no host's name of at most {_HOSTNAME_MAX} bytes")
    return name


def _log_directory(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidArgument("log_directory", path, "must be an absolute path")
    return path


def _ports(config: pb.PodSandboxConfig) -> tuple[PortMapping, ...]:
    """Those that have a host port: the kubelet lists all container ports."""
    out = []
    for mapping in config.port_mappings:
        if mapping.protocol not in _PROTOCOLS:
            raise InvalidArgument("port_mappings.protocol", int(mapping.protocol), "unknown")
        if mapping.host_port not in _PORTS or mapping.container_port not in _PORTS:
            ports = f"{mapping.host_port}:{mapping.container_port}"
            raise InvalidArgument("port_mappings", ports, "no valid port")
        if mapping.host_port:
            protocol = _PROTOCOLS[mapping.protocol]
            out.append(
                PortMapping(protocol, mapping.container_port, mapping.host_port, mapping.host_ip)
            )
    return tuple(out)
