"""``POST /containers/create``: Config, HostConfig and NetworkingConfig into a NewContainer.

Every field of the API's schema is either done here, refused by name, or one that means nothing on Linux
(ContainerIDFile is the client's own business; Consistency is for Docker on a Mac).
"""

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sharedrt.edges.docker import translate_security as security
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_config import DEFAULT_SHM_BYTES, complete_host_config
from sharedrt.edges.docker.host_limits import held_limits
from sharedrt.edges.docker.translate_config import (
    SHORT_ID,
    ContainerConfig,
    merge_config,
    process_env,
)
from sharedrt.edges.docker.translate_log import translate_log, translate_restart
from sharedrt.edges.docker.translate_mounts import (
    settle_binds,
    translate_mounts,
    translate_volumes,
)
from sharedrt.edges.docker.translate_network import (
    DEFAULT_NETWORK,
    network_mode,
    plan_network,
    translate_dns,
    translate_extra_hosts,
    translate_links,
)
from sharedrt.edges.docker.translate_resources import (
    memory_swap,
    translate_cgroup_parent,
    translate_device_requests,
    translate_device_rules,
    translate_devices,
    translate_resources,
    translate_ulimits,
)
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord, Json, NetworkRequest
from sharedrt.model.spec import ContainerSpec, Namespaces, User
from sharedrt.services.contracts import HostInfo, NewContainer
from sharedrt.wire.go_numbers import parse_digits

EXTENSION: Final = "docker"
"""Key of what this edge keeps with a container: ``Config`` and ``HostConfig`` as ``inspect`` shows them."""

DEFAULT_SYSCTLS: Final = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MAX_GID: Final = (1 << 31) - 1
_BUILT_IN_RUNTIME: Final = "io.containerd.runc.v2"


@dataclass(frozen=True, slots=True)
class CreateContext:
    """What a translation has to look up."""

    host: HostInfo
    find_container: Callable[[str], ContainerRecord]
    bridge_gateway: Callable[[], str]
    abilities: frozenset[str] = frozenset()
    """What of :mod:`host_limits` this kernel can (:func:`host_abilities.optional_files`)."""
    selinux: bool = False
    sysctls: frozenset[str] = frozenset()
    """Of :data:`DEFAULT_SYSCTLS` those that the kernel has."""
    recursive_readonly: bool = True
    """Whether a read-only bind is so all the way down, as it is for clients of today."""
    network_id: Callable[[str], str] = str
    """Of a network by name or id; what nobody knows as it is."""


@dataclass(frozen=True, slots=True)
class Translation:
    request: NewContainer
    warnings: tuple[str, ...]


def check_name(name: str) -> str:
    """A container's name without its leading slash. Raises Refusal."""
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name.lstrip("/")


def translate_create(
    id: ContainerId,
    name: str,
    body: Fields,
    host_config: Mapping[str, Json],
    image_config: Mapping[str, Any],
    context: CreateContext,
) -> Translation:
    """The whole request.

    Args:
        host_config: the body's HostConfig, as :mod:`versions` has made it.
        image_config: the image's ``config`` object (OCI image specification).

    Raises:
        Refusal: what is wrong or not done, by name. NotFound: a container that is referred to.
    """
    warnings: list[str] = []
    host = Fields(host_config, "HostConfig")
    _refuse_the_rest(host)
    find = context.find_container
    config = merge_config(body, image_config)
    mode = security.resolve_mode(network_mode(host), find)
    links = _links_by_id(host, find)
    plan = plan_network(
        mode, host, body.sub("NetworkingConfig"), config, warnings, context.network_id
    )
    pid_mode = security.resolve_mode(host.text("PidMode"), find)
    ipc_mode = security.resolve_mode(host.text("IpcMode"), find)
    cgroupns = _cgroupns_mode(host, context.host)
    hostname = _hostname(config, mode, host.text("UTSMode"), id, find)
    namespaces = Namespaces(
        network=plan.namespace,
        pid=security.pid_namespace(pid_mode),
        ipc=security.ipc_namespace(ipc_mode),
        uts=security.uts_namespace(host.text("UTSMode")),
        cgroup=security.cgroup_namespace(cgroupns),
        user=security.user_namespace(host.text("UsernsMode")),
    )
    restart = translate_restart(host.sub("RestartPolicy"))
    if host.boolean("AutoRemove") and restart.policy != "no":
        raise bad_request("can't create 'AutoRemove' container with restart policy")
    logs = translate_log(host.sub("LogConfig"), config.labels, config.env)
    mounts = settle_binds(
        translate_mounts(host, config, find),
        recursive=context.recursive_readonly,
        state_dir=context.host.state_dir,
    )
    spec = _spec(host, config, namespaces, hostname, mounts, context)
    spec = _with_limits(spec, host, context)
    held = held_limits(spec.resources, context.abilities)
    resources = held.resources
    spec = replace(spec, resources=resources)
    warnings += held.warnings
    rendered: dict[str, Json] = {**config.rendered, "Hostname": config.hostname or hostname}
    settled: dict[str, Json] = {
        "NetworkMode": mode,
        "PidMode": pid_mode,
        "IpcMode": ipc_mode or "private",
        "CgroupnsMode": cgroupns,
        "RestartPolicy": {"Name": restart.policy, "MaximumRetryCount": restart.max_retries},
        "OomKillDisable": bool(host.optional_boolean("OomKillDisable")),
        **held.shown,
        "MemorySwap": memory_swap(host) or 0,
        "MemorySwappiness": resources.memory_swappiness,
        "PidsLimit": resources.pids_limit,
        "Runtime": host.text("Runtime") or context.host.default_runtime,
        "LogConfig": {
            "Type": host.sub("LogConfig").text("Type") or "json-file",
            "Config": dict(host.sub("LogConfig").mapping("Config")),
        },
    }
    request = NewContainer(
        name=name,
        image=body.text("Image"),
        spec=spec,
        id=id,
        runtime_handler=_runtime(host, context.host),
        labels=config.labels,
        extensions={
            EXTENSION: {
                "Config": rendered,
                "HostConfig": complete_host_config(host_config, settled),
            }
        },
        keep_log=logs.keep,
        log_max_bytes=logs.max_bytes,
        log_max_files=logs.max_files,
        log_compress=logs.compress,
        log_forward=logs.forward,
        networks=tuple(_linked_by_id(request, links) for request in plan.networks),
        ports=plan.ports,
        dns=translate_dns(host),
        volumes=translate_volumes(host),
        exposed_ports=config.exposed_ports,
        extra_hosts=translate_extra_hosts(host, context.bridge_gateway),
        auto_remove=host.boolean("AutoRemove"),
        restart_policy=restart.policy,
        restart_max_retries=restart.max_retries,
    )
    return Translation(request, tuple(warnings))


def _refuse_the_rest(host: Fields) -> None:
    if host.text("Cgroup"):
        raise not_implemented("HostConfig.Cgroup")
    for option in host.mapping("StorageOpt"):
        raise Refusal(
            501,
            f"HostConfig.StorageOpt {option} is not supported by this daemon: "
            "its overlay keeps no quotas, and has no other options",
        )
    if (isolation := host.text("Isolation")) not in ("", "default"):
        raise bad_request(f'invalid isolation "{isolation}" on linux')
    if "" in host.mapping("Annotations"):
        raise bad_request(
            "invalid Annotations: the empty string is not permitted as an annotation key"
        )
    if host.integer("ShmSize") < 0:
        raise bad_request("SHM size can not be less than 0")
    if not -1000 <= host.integer("OomScoreAdj") <= 1000:
        raise bad_request(
            f"Invalid value {host.integer('OomScoreAdj')}, range for oom score adj is [-1000, 1000]"
        )


def _links_by_id(host: Fields, find: Callable[[str], ContainerRecord]) -> dict[str, str]:
    """Each of the Links as it came, and with the other container's id in the place of its name."""
    by_id = {}
    for link in translate_links(host.strings("Links")):
        name, _, alias = link.partition(":")
        try:
            by_id[link] = f"{find(name).id}:{alias}"
        except NotFound as fault:
            raise bad_request(
                f"could not get container for {name}: No such container: {name}"
            ) from fault
    return by_id


def _linked_by_id(request: NetworkRequest, by_id: Mapping[str, str]) -> NetworkRequest:
    """Links of the default bridge outlive renames."""
    if request.network != DEFAULT_NETWORK:
        return request
    return replace(request, links=tuple(by_id.get(link, link) for link in request.links))


def _spec(
    host: Fields,
    config: ContainerConfig,
    namespaces: Namespaces,
    hostname: str,
    mounts: tuple[Any, ...],
    context: CreateContext,
) -> ContainerSpec:
    command, args = _argv(config)
    return ContainerSpec(
        command=command,
        args=args,
        env=process_env(config, hostname),
        cwd=config.working_dir,
        user=_user(host, config),
        tty=config.tty,
        console_size=_console_size(host),
        open_stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        hostname=hostname,
        domainname=config.domainname,
        namespaces=namespaces,
        security=security.translate_security(host, selinux=context.selinux),
        mounts=mounts,
        cgroup_parent=translate_cgroup_parent(
            host.text("CgroupParent"), context.host.cgroup_driver
        ),
        init=host.boolean("Init"),
        shm_size_bytes=host.integer("ShmSize") or DEFAULT_SHM_BYTES,
        shm_shared=host.text("IpcMode") == "shareable",
        shm_none=host.text("IpcMode") == "none",
        stop_signal=config.stop_signal,
        health_check=config.health_check,
        annotations=host.mapping("Annotations"),
    )


def _console_size(host: Fields) -> tuple[int, int] | None:
    """ConsoleSize is [height, width]; zeros are no size."""
    size = host.raw.get("ConsoleSize")
    if not isinstance(size, list) or len(size) != 2 or not any(size):
        return None
    height, width = (n if isinstance(n, int) else -1 for n in size)
    if not (0 <= height < 1 << 16 and 0 <= width < 1 << 16):
        raise bad_request("invalid ConsoleSize: must be [height, width]")
    return width, height


def _with_limits(spec: ContainerSpec, host: Fields, context: CreateContext) -> ContainerSpec:
    score = host.integer("OomScoreAdj")
    return replace(
        spec,
        resources=translate_resources(host, context.host.cpus),
        devices=translate_devices(host),
        device_rules=translate_device_rules(host),
        cdi_devices=translate_device_requests(host),
        rlimits=translate_ulimits(host),
        sysctls={**_default_sysctls(host, context), **_sysctls(host)},
        oom_score_adj=score or None,
    )


def _argv(config: ContainerConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both parts always said, so that none of the image's comes back."""
    if config.entrypoint:
        return config.entrypoint, config.cmd
    return config.cmd[:1], config.cmd[1:]


def _user(host: Fields, config: ContainerConfig) -> User:
    groups = host.strings("GroupAdd")
    return User(
        name=config.user,
        additional_gids=tuple(gid for gid in map(_gid, groups) if gid is not None),
        additional_groups=tuple(group for group in groups if _gid(group) is None),
    )


def _gid(group: str) -> int | None:
    """``None``: a name, as is a number that can be no group's, which the start will not find."""
    return parse_digits(group, _MAX_GID)


def _hostname(
    config: ContainerConfig,
    mode: str,
    uts_mode: str,
    id: str,
    find: Callable[[str], ContainerRecord],
) -> str:
    if config.hostname and uts_mode == "host":
        raise bad_request("conflicting options: hostname and the UTS mode")
    if config.hostname:
        return config.hostname
    if mode == "host" or uts_mode == "host":
        return socket.gethostname()
    if mode.startswith("container:"):
        return find(mode.removeprefix("container:")).spec.hostname
    return id[:SHORT_ID]


def _cgroupns_mode(host: Fields, info: HostInfo) -> str:
    if mode := host.text("CgroupnsMode"):
        return mode
    if host.boolean("Privileged") and info.cgroup_version == 1:
        return "host"
    return "private" if info.cgroup_version == 2 else "host"


def _runtime(host: Fields, info: HostInfo) -> str:
    name = host.text("Runtime")
    if name == _BUILT_IN_RUNTIME and "runc" in info.runtimes:
        return "runc"
    if name and name not in info.runtimes:
        raise bad_request(f"unknown or invalid runtime name: {name}")
    return name


def _default_sysctls(host: Fields, context: CreateContext) -> dict[str, str]:
    """What dockerd sets in each network namespace that it makes: no capability is needed to ping, nor for low ports."""
    mode = network_mode(host)
    if mode == "host" or mode.startswith("container:"):
        return {}
    return {name: value for name, value in DEFAULT_SYSCTLS.items() if name in context.sysctls}


def _sysctls(host: Fields) -> dict[str, str]:
    sysctls = host.mapping("Sysctls")
    if network_mode(host) == "host":
        for name in sysctls:
            if name.startswith("net."):
                raise bad_request(f"sysctl '{name}' not allowed in host network namespace")
    return sysctls
